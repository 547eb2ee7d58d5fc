"""Every file of gin/systems on the miniature benchmark: does it learn, and is it the same on two replicas?

    python -m benchmarks.miniature.make --output build/miniature
    python -m benchmarks.systems                          # all of them; what is in the results is not done again
    python -m benchmarks.systems cvrl gdt --steps 100     # these alone

Each trains with gin/models/tiny.gin and benchmarks/miniature/gin/systems.gin after it, once on one device, and for its
first steps on two replicas (logical CPU devices of one process) with the same batches. A linear probe on the
representation, before the heads, of the trained and of the untrained network (the same weights as the run began with)
names the event and the material of clips of other episodes (benchmarks/miniature/measure.py). Each system has a process
of its own; the results are written after each.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "systems.json"
GIN = ("gin/models/tiny.gin", "benchmarks/miniature/gin/systems.gin")
TOGETHER = 4  # steps on two replicas; one loop of benchmarks/miniature/gin/systems.gin
PROBES = (("video", "event"), ("video", "material"), ("audio", "event"))
# Residual networks in three dimensions and several views are slow on a CPU.
_SMALLER = ("train.batch_size = 16", "VideoInput.min_side = 36", "VideoInput.crop_size = 32")
_BANK = ("FilterBank.sample_rate = 16000", "FilterBank.max_frequency = 8000.0")
# Beside those files, and what a clip of three seconds with sound of 16 kHz asks for.
OWN = {
    "avts": _SMALLER,
    "avts_hard": (*_SMALLER, "VideoInput.frame_rate = 7.0"),  # two clips and half a second fit
    "brave": ("VideoInput.frame_rate = 10.0", "broad/VideoInput.frame_rate = 2.7"),
    "cvrl": _SMALLER,
    "gdt": (*_SMALLER, *_BANK, "train.batch_size = 8"),
    "gdt_text": _SMALLER,
}


def names() -> list[str]:
    """The systems; avts before avts_hard, which begins with its weights."""
    return sorted(path.stem for path in (ROOT / "gin" / "systems").glob("*.gin"))


def _train(name: str, workdir: pathlib.Path, data: pathlib.Path, strategy, *more: str) -> None:
    from mmv_tf.common import config
    from mmv_tf.training.run import train

    file = f"gin/systems/{name}.gin"
    given = [f"TRAIN_DATA = '{data}/records/narrated-*'", *OWN.get(name, ()), *more]
    if "_text" in name or "milnce" in name:
        given.append(f"VOCABULARY = '{data}/vocabulary.txt'")
    config.parse([file, *GIN], given)
    train(str(workdir), strategy)


def _first_logs(workdir: pathlib.Path) -> dict[str, float]:
    """{name: mean over the first TOGETHER steps} of all losses, and of the gradient."""
    import tensorflow as tf

    found = {}
    for path in sorted(workdir.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if event.step == TOGETHER and ("loss" in value.tag or value.tag == "gradient_norm"):
                    found.setdefault(value.tag, float(tf.make_ndarray(value.tensor)))
    if "total_loss" not in found:
        raise ValueError(f"{workdir} has no loss of step {TOGETHER}")
    return found


def _probes(run: pathlib.Path, start: pathlib.Path, data: pathlib.Path) -> dict[str, dict[str, float]]:
    """{'chance', 'untrained', 'trained': {'video/event': per cent ...}} of a run's newest checkpoint and of the first
    one of `start`, which has the same network."""
    import tensorflow as tf

    from benchmarks.miniature import measure
    from benchmarks.miniature.embeddings import Embedder
    from mmv_tf.training import workdir as workdirs

    loaded = workdirs.load(str(run))
    embedder, found = Embedder(loaded, data), {}
    for name in ("trained", "untrained"):
        if name == "untrained":
            checkpoint = workdirs.make_checkpoint(loaded.model, tf.Variable(0, dtype=tf.int64))
            workdirs.restore(checkpoint, str(start / workdirs.CHECKPOINTS / "ckpt-0"))
        parts = [embedder.part(split) for split in ("narrated", "val", "test")]
        wanted = [probe for probe in PROBES if (probe[0], "repr") in parts[0].embeddings]
        found[name] = {f"{modality}/{label}": measure.probe(*parts, modality, label) for modality, label in wanted}
    found["chance"] = {f"{m}/{label}": measure.chance_of(parts[0], parts[2], label) for m, label in wanted}
    return found | {"clips": len(parts[2].rows)}


def one(name: str, data: pathlib.Path, steps: int, folder: pathlib.Path) -> dict:
    """Trains and measures a system; its workdirs lie in `folder`."""
    import tensorflow as tf

    from mmv_tf.training import workdir as workdirs

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    run, start, more = folder / name, folder / name, [f"STEPS = {steps}"]
    if name == "avts_hard":
        start = folder / "avts"
        more.append(f"train.init_from = '{start}'")
    _train(name, run, data, tf.distribute.OneDeviceStrategy("CPU:0"), *more)
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    _train(name, folder / f"{name}-two", data, two, *more, f"train.steps = {TOGETHER}")
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    return {
        "steps": summary["steps"],
        "batch_size": int(workdirs.earlier_setting(str(run), "train.batch_size")),
        "parameters": summary["parameters"],
        "seconds": summary["seconds"],
        "last_loss": summary["total_loss"],
        "first_logs": {"one": _first_logs(run), "two": _first_logs(folder / f"{name}-two")},
        "probes": _probes(run, start, data),
    }


def apart(result: dict) -> float:
    """The greatest relative difference between the logs of one device and of two replicas."""
    logs = result["first_logs"]
    if logs["one"].keys() != logs["two"].keys():
        raise ValueError(f"one device logged {sorted(logs['one'])}, two replicas {sorted(logs['two'])}")
    return max(abs(logs["two"][tag] - value) / max(abs(value), 1e-6) for tag, value in logs["one"].items())


def table(results: dict) -> str:
    """Markdown: a row for each system."""
    lines = [
        "| system | loss, first and last | two replicas differ by | video, event | video, material | sound, event |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for name, result in sorted(results["systems"].items()):
        probes = result["probes"]
        cells = [
            f"{probes['untrained'][label]:.1f} -> {probes['trained'][label]:.1f}" if label in probes["trained"] else "-"
            for label in map("/".join, PROBES)
        ]
        losses = f"{result['first_logs']['one']['total_loss']:.3f} -> {result['last_loss']:.3f}"
        lines.append(f"| {name} | {losses} | {apart(result):.0e} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {"systems": {}}


def main(arguments: argparse.Namespace) -> None:
    from mmv_tf.common.files import whole_file

    if unknown := set(arguments.systems) - set(names()):
        raise ValueError(f"there is no system {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    wanted = arguments.systems or names()
    if "avts_hard" in wanted and not (arguments.data / "systems" / "avts").is_dir() and "avts" not in wanted:
        raise ValueError("avts_hard begins with the weights of avts: run that before, or with it")
    for name in wanted if not arguments.report else ():
        done = _read(arguments.output)["systems"].get(name, {})
        if done.get("steps") == arguments.steps:
            print(f"{name}: done before", flush=True)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            file = pathlib.Path(scratch) / "result.json"
            command = [sys.executable, "-m", "benchmarks.systems", name, "--only", str(file)]
            command += ["--data", str(arguments.data), "--steps", str(arguments.steps)]
            subprocess.run(command, check=True, cwd=ROOT)
            results = _read(arguments.output)
            results["systems"][name] = json.loads(file.read_text("utf-8"))
        with whole_file(arguments.output) as partial:
            partial.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(table(_read(arguments.output)))


def cli(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.systems", description=__doc__.split("\n")[0])
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {' '.join(names())}; all if none")
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("build/miniature"))
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--report", action="store_true", help="run nothing, print the table of what is there")
    parser.add_argument("--only", type=pathlib.Path, help=argparse.SUPPRESS)  # the file for the result of one system
    arguments = parser.parse_args(argv)
    if arguments.only is None:
        return main(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compiled in half the time
    folder = arguments.data / "systems"
    result = one(arguments.systems[0], arguments.data, arguments.steps, folder)
    arguments.only.write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    from mmv_tf.common.command import run

    run(cli)
