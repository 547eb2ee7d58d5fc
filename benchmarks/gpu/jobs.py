"""The jobs of `benchmarks.gpu.run`: each prints one line, RESULT and JSON.

python -m benchmarks.gpu.jobs step_bfloat16            # one of them, in this process
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]


@dataclasses.dataclass(frozen=True)
class Job:
    """A measurement.

    Attributes:
      name: of the result.
      what: it is, for people.
      function: of this module, by name.
      arguments: of the function.
      environment: of its process.
    """

    name: str
    what: str
    function: str
    arguments: Mapping = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


_BATCH_NORM = {"TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT": "1"}
# What may make a step faster, each alone; the last are of XLA, which takes long to try convolutions out.
_VARIANTS = {
    "batch_norm": ("batch norm without transposing", _BATCH_NORM, {}),
    "private_threads": ("threads that launch kernels alone", {"TF_GPU_THREAD_MODE": "gpu_private"}, {}),
    "allocator": ("CUDA's own allocator", {"TF_GPU_ALLOCATOR": "cuda_malloc_async"}, {}),
    "untried": ("convolutions that are not tried out", {"TF_CUDNN_USE_AUTOTUNE": "0"}, {}),
    "xla_untried": ("XLA that tries nothing out", {"XLA_FLAGS": "--xla_gpu_autotune_level=0"}, {"jit": True}),
    "xla_graphs": (
        "the same in CUDA graphs",
        {"XLA_FLAGS": "--xla_gpu_autotune_level=0 --xla_gpu_graph_min_graph_size=1"},
        {"jit": True},
    ),
    "xla_kept": (
        "XLA whose choices are kept from run to run",
        {"XLA_FLAGS": f"--xla_gpu_per_fusion_autotune_cache_dir={tempfile.gettempdir()}"},
        {"jit": True},
    ),
}
_NETWORKS = ("s3d_rgb", "s3d_s2d", "tsm50", "r2plus1d", "audio50")

JOBS = (
    Job("machine", "the card, and the rates of matrix products", "machine"),
    Job("step_bfloat16", "the whole FAC step", "step"),
    *(
        Job(f"step_bfloat16_{name}", f"the same, {what}", "step", more, environment)
        for name, (what, environment, more) in _VARIANTS.items()
    ),
    *(
        Job(f"torch_{name}_{precision}", "torchvision's network", "peer", {"network": name, "precision": precision})
        for name in ("s3d_rgb", "r2plus1d")
        for precision in ("bfloat16", "float32")
    ),
    *(Job(f"network_{name}_bfloat16", "a backbone alone", "network", {"network": name}) for name in _NETWORKS),
    *(
        Job(f"network_{name}_batch_norm", "with the batch norm above", "network", {"network": name}, _BATCH_NORM)
        for name in _NETWORKS
    ),
    *(Job(f"equal_{name}", "each layer on the card and on the CPU", "equal", {"network": name}) for name in _NETWORKS),
    Job("step_float16", "with a scaled loss", "step", {"precision": "mixed_float16"}),
    Job("step_tf32", "float32 in products of TF32", "step", {"precision": "float32"}),
    Job("step_float32", "float32 throughout", "step", {"precision": "float32", "tf32": False}),
    Job("train", "200 steps from records: killed, resumed and exported", "train"),
)


def _tensorflow():
    import tensorflow as tf

    for card in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(card, True)
    return tf


def _times(call, least: int = 5, seconds: float = 8.0) -> tuple[float, float, float]:
    """Of a call, in seconds: the shortest, the median, and the first one, which compiles."""
    began = time.perf_counter()
    call()
    first, times = time.perf_counter() - began, []
    call()
    until = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < until:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
        if len(times) >= 200:
            break
    return min(times), statistics.median(times), first


def _peak(tf) -> dict:
    cards = tf.config.list_logical_devices("GPU")
    return {"peak_gib": round(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30, 2)} if cards else {}


def machine(tiny: bool) -> dict:
    tf = _tensorflow()
    size, found = 256 if tiny else 8192, {}
    for name, dtype in (("bfloat16", tf.bfloat16), ("float32_or_tf32", tf.float32)):
        a = tf.cast(tf.random.stateless_uniform([size, size], [1, 2]), dtype)
        product = tf.function(lambda a=a: tf.reduce_sum(tf.cast(tf.matmul(a, a)[0], tf.float32)))
        found[f"tflops_{name}"] = round(2e-12 * size**3 / _times(lambda call=product: call().numpy())[0], 3)
    cards = [tf.config.experimental.get_device_details(one) for one in tf.config.list_physical_devices("GPU")]
    build = tf.sysconfig.get_build_info()
    versions = {"tensorflow": tf.__version__, "cuda": build.get("cuda_version"), "cudnn": build.get("cudnn_version")}
    return {"cards": [one.get("device_name") for one in cards], **versions, **found}


def step(tiny: bool, precision: str = "mixed_bfloat16", jit: bool = False, tf32: bool = True, batch: int = 128) -> dict:
    """A training step of gin/fac.gin on a batch that is there already."""
    tf = _tensorflow()
    import keras
    import training

    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    batch, files = (4, ["gin/fac.gin", "gin/models/tiny.gin"]) if tiny else (batch, ["gin/fac.gin"])
    given = argparse.Namespace(gin_file=files, gin_param=[f"train.batch_size = {batch}"])
    keras.mixed_precision.set_dtype_policy(precision)
    with tempfile.TemporaryDirectory() as folder:
        pipeline, model, batch = training.setting(given, folder)
    drawn = {
        name: tf.random.stateless_uniform(value.shape, [3, 4]) if value.dtype.is_floating else value
        for name, value in pipeline.zeros(batch).items()
    }
    take = model.compiled_step() if jit else tf.function(model.take_step)
    least, median, first = _times(lambda: take(drawn).numpy())
    return {
        "clips_per_second": round(batch / least, 1),
        "median": round(batch / median, 1),
        "tflops": round(6e-12 * training.multiply_adds(model, drawn) * batch / least, 3),
        "first_seconds": round(first, 1),
        **_peak(tf),
    }


def _network(tf, name: str, tiny: bool, batch: int):
    """(its constructor, a batch for it); audio50 takes spectrograms, the others clips of 16 frames."""
    import backbones

    make, shape, _ = backbones.networks(*((48, 8) if tiny else (200, 16)))[name]
    return make, tf.random.stateless_uniform([2 if tiny else batch, *shape], [1, 2])


def network(tiny: bool, network: str, precision: str = "mixed_bfloat16", batch: int = 128) -> dict:
    tf = _tensorflow()
    import backbones
    import keras

    keras.mixed_precision.set_dtype_policy(precision)
    make, x = _network(tf, network, tiny, batch)
    count, forward, train = backbones.ours(make, x, False)
    found = {}
    for name, call, passes in (("forward", forward, 1), ("train", train, 3)):

        def once(call=call):
            return [one.numpy().ravel()[0] for one in tf.nest.flatten(call())[-1:]]

        least, _, first = _times(once)
        found[f"{name}_clips_per_second"] = round(len(x) / least, 1)
        found[f"{name}_tflops"] = round(2e-12 * passes * count * len(x) / least, 3)
        found[f"{name}_first_seconds"] = round(first, 1)
    return {**found, **_peak(tf)}


def peer(tiny: bool, network: str, precision: str, batch: int = 128) -> dict:
    """torchvision's network of that name as people run it: eager, channels last, cuDNN that tries out."""
    import numpy as np
    import torch
    import torchvision
    from torch.utils.flop_counter import FlopCounterMode

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    card = "cuda" if torch.cuda.is_available() else "cpu"
    made = {"s3d_rgb": "s3d", "r2plus1d": "r2plus1d_18"}[network]
    made = getattr(torchvision.models.video, made)(weights=None).to(card, memory_format=torch.channels_last_3d)
    shape = (1 if tiny else batch, 3, 16, 224, 224)
    x = torch.from_numpy(np.random.default_rng(0).uniform(size=shape).astype("float32"))
    x = x.to(card).to(memory_format=torch.channels_last_3d)
    cast = torch.autocast(card, torch.bfloat16, enabled=precision == "bfloat16")
    made.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made(x[:1])

    def forward():
        made.eval()
        with torch.no_grad(), cast:
            made(x).float().sum().item()

    def train():
        made.train()
        made.zero_grad(set_to_none=True)
        with cast:
            loss = made(x).float().square().sum()
        loss.backward()
        loss.item()

    found = {}
    for name, call, passes in (("forward", forward, 1), ("train", train, 3)):
        least = _times(call)[0]
        found[f"{name}_clips_per_second"] = round(len(x) / least, 1)
        found[f"{name}_tflops"] = round(1e-12 * passes * counter.get_total_flops() * len(x) / least, 3)
    return {**found, "torch": torch.__version__, "device": card}


def differences(make, x, devices, dtype: str) -> dict[str, float]:
    """{layer, or variable whose gradient it is: greatest difference of two devices over its greatest number}.

    In the order of the layers; the gradients of the mean square of the last one come after.

    Args:
      make: what makes a backbone.
      x: its input.
      devices: two names of devices.
      dtype: 'float32' or 'float64'.
    """
    import keras
    import tensorflow as tf

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        made, found = make(), []
        made(tf.cast(x[:1], dtype))
        for device in devices:
            with tf.device(device), tf.GradientTape() as tape:
                ends = made.endpoints(tf.cast(x, dtype), training=True)
                loss = tf.reduce_mean(tf.square(list(ends.values())[-1]))
            variables = [variable.value for variable in made.trainable_variables]
            slopes = zip(made.trainable_variables, tape.gradient(loss, variables), strict=True)
            told = {**ends, **{f"gradient of {v.path.partition('/')[2]}": g for v, g in slopes if g is not None}}
            found.append({name: tf.convert_to_tensor(value).numpy() for name, value in told.items()})
    finally:
        keras.config.set_dtype_policy(before)
    one, other = found
    return {name: float(abs(one[name] - other[name]).max() / max(abs(one[name]).max(), 1e-30)) for name in one}


def equal(tiny: bool, network: str) -> dict:
    """Where a network parts on the card and on the CPU; in float64, too, which tells rounding from a fault."""
    tf = _tensorflow()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    make, x = _network(tf, network, tiny, 4)
    card = "/GPU:0" if tf.config.list_logical_devices("GPU") else "/CPU:0"
    found = {"device": card}
    for dtype in ("float32", "float64"):
        told = differences(make, x, ("/CPU:0", card), dtype)
        parts = {"layer": [], "gradient": []}
        for name, value in told.items():
            parts["gradient" if name.startswith("gradient") else "layer"].append((value, name))
        for part, values in parts.items():
            value, name = max(values)
            found[f"{dtype}_{part}"] = f"{value:.1e} ({name})"
        found[f"{dtype}_all"] = {name: float(f"{value:.2e}") for name, value in told.items()}
    return found


def train(tiny: bool, steps: int = 200, batch: int = 128) -> dict:
    """`mmv_tf train` from records: stopped by a kill, resumed, exported; beside it the rate of the step alone."""
    import input_pipeline

    steps, batch, size = (8, 4, (2, 4)) if tiny else (steps, batch, (16, 32))
    with tempfile.TemporaryDirectory() as folder:
        data = input_pipeline.write_records(folder, *size)
        vocabulary = pathlib.Path(folder, "vocabulary.txt")
        vocabulary.write_text("palace\npark\npeople\nwalk\nblue\nsky\n")
        files = ["gin/fac.gin", *["gin/models/tiny.gin"] * tiny]
        params = {
            "TRAIN_DATA": repr(data),
            "VOCABULARY": repr(str(vocabulary)),
            "STEPS": steps,
            "train.batch_size": batch,
            "train.precision": repr("float32" if tiny else "mixed_bfloat16"),
            "train.steps_per_loop": steps // 4,
            "train.checkpoint_every": steps // 4,
            "warmup_cosine.warmup_steps": steps // 4,
        }
        given = [*(f"--gin_file={one}" for one in files), *(f"--gin_param={k} = {v}" for k, v in params.items())]
        workdir = os.path.join(folder, "run")
        command = [sys.executable, "-m", "mmv_tf.train", f"--workdir={workdir}", *given]
        first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while not os.path.exists(os.path.join(workdir, "checkpoints", f"ckpt-{steps // 2}.index")):
            if first.poll() is not None:
                raise RuntimeError(f"the run ended before it was killed: {first.stdout.read().decode()[-1000:]}")
            time.sleep(0.2)
        first.kill()
        first.wait()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        summary = json.loads(pathlib.Path(workdir, "summary.json").read_text())
        output = os.path.join(folder, "export")
        subprocess.run(
            [sys.executable, "-m", "mmv_tf", "export", f"--workdir={workdir}", f"--output={output}"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        resumed = re.search(r"[^\n]*(?:goes on|resum)[^\n]*", done.stdout + done.stderr)
        return {
            "resumed": resumed.group(0) if resumed else "not said",
            "exported": sorted(os.listdir(output)),
            **{k: round(v, 4) for k, v in summary.items() if k in ("clips_per_second", "input_wait", "total_loss")},
            "steps": summary["steps"],
        }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[job.name for job in JOBS], metavar="NAME")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(argv)
    (job,) = (job for job in JOBS if job.name == args.name)
    os.environ.update(job.environment)
    with contextlib.redirect_stdout(io.StringIO()):
        found = globals()[job.function](args.tiny, **job.arguments)
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
