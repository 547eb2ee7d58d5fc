"""Every file of gin/systems on the miniature benchmark: does it learn, and is it the same on two replicas?

    python -m benchmarks.miniature.make --output build/miniature
    python -m benchmarks.systems                          # all of them; what is in the results is not done again
    python -m benchmarks.systems cvrl gdt --steps 100     # these alone

Each has gin/models/tiny.gin and benchmarks/miniature/gin/systems.gin after it.

- Learning: it trains on one device. A linear probe on the representation, before the heads, of the trained and of the
  untrained network (the weights that the run began with) names the event and the material of clips of other episodes
  (benchmarks/miniature/measure.py).
- Replicas: a few steps on one and on two logical CPU devices, with the batches that the pipeline makes for each, in
  float64: in float32 the gradients of these networks differ by some per cent in any other order of sums
  (MC3, R(2+1)D), and with them all later losses.

Each part of a system has a process of its own; the results are written after each.
"""

import argparse
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "systems.json"
GIN = ("gin/models/tiny.gin", "benchmarks/miniature/gin/systems.gin")
PARTS = ("replicas", "learning")
STEPS_OF_REPLICAS, BATCH_OF_REPLICAS = 2, 4
PROBES = (("video", "event"), ("video", "material"), ("audio", "event"))
_BANK = ("FilterBank.sample_rate = 16000", "FilterBank.max_frequency = 8000.0")
_SOUND = ("LogPower.sample_rate = 16000", "LogPower.fft = 512", "LogPower.stride = 160", "LogPower.num_bins = None")
_LARGER = ("train.batch_size = 32", "VideoInput.min_side = 44", "VideoInput.crop_size = 40")  # they are quick
# Convolutions of few channels in three dimensions are slow on a CPU.
_SMALLER = ("train.batch_size = 8", "VideoInput.num_frames = 4", "VideoInput.frame_rate = 2.5")
_FEW = ("InputPipeline.order = 'independent'",)  # records: see there
_COINCIDENCE = ("train.batch_size = 32", "keras.optimizers.Adam.learning_rate = 0.001")
# As in benchmarks/miniature/gin/objectives/vatt.gin, which says why.
_WAVES = (
    "Waveform.sample_rate = 16000",
    "Waveform.level = 1.0",
    "WordVectors.vocabulary_size = 1024",
    "warmup_cosine.peak = 0.001",
)
# Beside that, what a clip of three seconds with sound of 16 kHz asks for.
OWN = {
    "aa_av_cc": _COINCIDENCE,
    "aa_av_cc_clusters": _COINCIDENCE,
    "avid": (*_SOUND, "VideoInput.frame_rate = 10.0", *_FEW),
    "avid_cma": (*_SOUND, "VideoInput.frame_rate = 10.0", *_FEW),
    "avts": _SMALLER,
    "avts_hard": (*_SMALLER, "VideoInput.frame_rate = 4.0"),  # two clips and half a second fit
    "cvrl": _SMALLER,
    "elo": ("VideoResNet.depth = 18", "train.batch_size = 8"),
    "gdt_text": _SMALLER,
    "milnce_i3d": _SMALLER,
    "brave": ("VideoInput.frame_rate = 10.0", "broad/VideoInput.frame_rate = 2.7"),
    "gdt": (*_BANK, "train.batch_size = 8"),
    "milnce_s3d": _LARGER,
    "simclr_r50": _LARGER,
    "xdc": ("CLUSTERS = 16",),
    **dict.fromkeys(("vatt_bbs", "vatt_lbs", "vatt_ma", "vatt_mbs"), _WAVES),
}


# What begins with another's weights.
AFTER = {"avid_cma": "avid", "avts_hard": "avts"}


def names() -> list[str]:
    """The systems; those of `AFTER` after what they begin with."""
    return sorted(path.stem for path in (ROOT / "gin" / "systems").glob("*.gin"))


def _parse(name: str, data: pathlib.Path, *more: str) -> None:
    from mmv_tf.common import config

    given = [f"TRAIN_DATA = '{data}/records/narrated-*'", *OWN.get(name, ()), *more]
    if "_text" in name or "milnce" in name or "vatt" in name:
        given.append(f"VOCABULARY = '{data}/vocabulary.txt'")
    if "vatt" in name:
        given.append(f"AUDIOSET_DATA = '{data}/records/plain-*'")
    config.parse([f"gin/systems/{name}.gin", *GIN], given)


def _step(model, batch):
    """One step, as `MMV.take_step` takes it, without the minutes to trace it: this replica's sums."""
    from mmv_tf.model import accumulation, stepping

    variables = model.trainable_variables
    gradients, logs = accumulation.gradients(model, batch, variables, 1)
    stepping.step(model.optimizer, gradients, variables)
    return {name: total for name, (total, _) in logs.items() if "loss" in name}


def _losses(strategy) -> list[dict[str, float]]:
    """Of each step {loss: value over the global batch}, of what is parsed."""
    import gin
    import keras
    import tensorflow as tf

    from mmv_tf.inputs.pipeline import InputPipeline
    from mmv_tf.model.mmv import MMV
    from mmv_tf.training import schedules
    from mmv_tf.training.per_record import state
    from mmv_tf.training.per_record.refresh import Refreshing

    keras.utils.set_random_seed(0)
    with strategy.scope():
        model, pipeline = MMV(), InputPipeline()
        optimizer = gin.query_parameter("train.optimizer").scoped_configurable_fn()
        model.compile(optimizer=schedules.for_batch(optimizer, BATCH_OF_REPLICAS))
        model.build_by_call(pipeline.zeros(batch_size=1))
        model.optimizer.build(model.trainable_variables)
    refresh = gin.get_bindings("mmv_tf.training.run.train").get("refresh")
    state.prepare(model, pipeline, BATCH_OF_REPLICAS, strategy, refresh and refresh.what.widths)
    if model.per_record is not None:
        model.per_record.begin(0)
    if refresh:
        Refreshing(refresh, model, pipeline, strategy, tf.Variable(0), BATCH_OF_REPLICAS, 0)()
    batches = strategy.distribute_datasets_from_function(
        lambda context: pipeline.training_dataset(BATCH_OF_REPLICAS, input_context=context)
    )
    found = []
    for _, batch in zip(range(STEPS_OF_REPLICAS), batches, strict=False):
        parts = strategy.run(_step, args=(model, batch))
        local = strategy.experimental_local_results
        found.append({name: sum(map(float, local(of))) for name, of in parts.items()})
    return found


def replicas(name: str, data: pathlib.Path, steps: int, folder: pathlib.Path) -> dict:
    """The losses of the first steps on one device and on two; `steps` says how long the schedule is."""
    import keras
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_dtype_policy("float64")
    small = ("VideoInput.num_frames = 4", "VideoInput.jit_compile = False", "warmup_cosine.warmup_steps = 0")
    _parse(name, data, f"STEPS = {steps}", *small)
    one = _losses(tf.distribute.OneDeviceStrategy("CPU:0"))
    return {"steps": steps, "one": one, "two": _losses(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))}


def learning(name: str, data: pathlib.Path, steps: int, folder: pathlib.Path) -> dict:
    """Trains and measures a system; its workdir lies in `folder`."""
    import tensorflow as tf

    from benchmarks.miniature import measure, scenes
    from benchmarks.miniature.embeddings import Embedder
    from mmv_tf.training import workdir as workdirs
    from mmv_tf.training.run import train

    run, start, more = folder / name, folder / name, [f"STEPS = {steps}"]
    if name in AFTER:
        start = folder / AFTER[name]
        more.append(f"train.init_from = '{start}'")
    _parse(name, data, *more)
    train(str(run), tf.distribute.get_strategy())
    loaded = workdirs.load(str(run))
    embedder, probes = Embedder(loaded, data), {}
    for which in ("trained", "untrained"):
        if which == "untrained":
            checkpoint = workdirs.make_checkpoint(loaded.model, tf.Variable(0, dtype=tf.int64))
            workdirs.restore(checkpoint, str(start / workdirs.CHECKPOINTS / "ckpt-0"))
        parts = [embedder.part(split) for split in ("narrated", "val", "test")]
        wanted = [probe for probe in PROBES if (probe[0], "repr") in parts[0].embeddings]
        probes[which] = {f"{modality}/{label}": measure.probe(*parts, modality, label) for modality, label in wanted}
    probes["chance"] = {f"{m}/{label}": measure.chance_of(parts[0], parts[2], label) for m, label in wanted}
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    told = {key: summary[key] for key in ("steps", "parameters", "seconds", "total_loss")}
    batch = int(workdirs.earlier_setting(str(run), "train.batch_size"))
    return {**told, "batch_size": batch, "clips": len(parts[2].rows), "version": scenes.VERSION, "probes": probes}


def apart(result: dict) -> float:
    """The greatest relative difference between the losses of one device and of two replicas."""
    found = 0.0
    for one, two in zip(result["one"], result["two"], strict=True):
        if one.keys() != two.keys():
            raise ValueError(f"one device logged {sorted(one)}, two replicas {sorted(two)}")
        if not all(map(math.isfinite, [*one.values(), *two.values()])):
            raise ValueError(f"a loss is not finite: {one}, {two}")
        found = max([found, *(abs(two[name] - value) / max(abs(value), 1e-6) for name, value in one.items())])
    return found


def table(results: dict) -> str:
    """Markdown: a row for each system."""
    lines = ["| system | clips a step | video, event | video, material | sound, event | two replicas differ by |"]
    lines.append("|---|---|---|---|---|---|")
    for name, result in sorted(results.items()):
        trained = result.get("learning")
        probes = trained["probes"] if trained else {"trained": {}}
        cells = [
            f"{probes['untrained'][label]:.1f} -> {probes['trained'][label]:.1f}" if label in probes["trained"] else "-"
            for label in map("/".join, PROBES)
        ]
        differ = f"{apart(result['replicas']):.0e}" if "replicas" in result else "-"
        lines.append(f"| {name} | {trained['batch_size'] if trained else '-'} | {' | '.join(cells)} | {differ} |")
    return "\n".join(lines)


def _read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _is_done(name: str, part: str, arguments: argparse.Namespace) -> bool:
    return _read(arguments.output).get(name, {}).get(part, {}).get("steps") == arguments.steps


def _run(name: str, part: str, arguments: argparse.Namespace, again: bool) -> None:
    """One part of a system in a process of its own, and its result into the file; nothing if it is there."""
    from mmv_tf.common.files import whole_file

    if not again and _is_done(name, part, arguments):
        print(f"{name}, {part}: done before", flush=True)
        return
    if again and part == "learning":
        shutil.rmtree(arguments.data / "systems" / name, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch) / "result.json"
        command = [sys.executable, "-m", "benchmarks.systems", name, "--parts", part, "--only", str(file)]
        command += ["--data", str(arguments.data), "--steps", str(arguments.steps)]
        subprocess.run(command, check=True, cwd=ROOT)
        results = _read(arguments.output)
        results.setdefault(name, {})[part] = json.loads(file.read_text("utf-8"))
    with whole_file(arguments.output) as partial:
        partial.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")


def main(arguments: argparse.Namespace) -> None:
    if unknown := set(arguments.systems) - set(names()):
        raise ValueError(f"there is no system {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    wanted = [] if arguments.report else sorted(arguments.systems or names())
    lost = set()  # what another begins with, and is no longer here
    for name in set(wanted) & set(AFTER) if "learning" in arguments.parts else ():
        before, is_wanted = AFTER[name], arguments.again or not _is_done(name, "learning", arguments)
        if is_wanted and not (arguments.data / "systems" / before).is_dir():
            if before not in wanted:
                raise ValueError(f"{name} begins with the weights of {before}: run that before, or with it")
            lost.add(before)
    for name in wanted:
        for part in arguments.parts:
            _run(name, part, arguments, arguments.again or (part == "learning" and name in lost))
    print(table(_read(arguments.output)))


def cli(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.systems", description=__doc__.split("\n")[0])
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {' '.join(names())}; all if none")
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("build/miniature"))
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--report", action="store_true", help="run nothing, print the table of what is there")
    parser.add_argument("--again", action="store_true", help="also what is in the results, from the start")
    parser.add_argument("--only", type=pathlib.Path, help=argparse.SUPPRESS)  # the file for the result of one part
    arguments = parser.parse_args(argv)
    if arguments.only is None:
        return main(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compiled in half the time
    part = {"replicas": replicas, "learning": learning}[arguments.parts[0]]
    result = part(arguments.systems[0], arguments.data, arguments.steps, arguments.data / "systems")
    arguments.only.write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    from mmv_tf.common.command import run

    raise SystemExit(run(cli))
