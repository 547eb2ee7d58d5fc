"""A campaign on repeatability: many runs of one configuration on a loaded machine, compared to the last bit.

    python benchmarks/faults/repeatability.py --pairs 200

Several processes at once repeat the first steps of a tiny training (video and text from two sources, learned words,
Adam, `max_bad_records`), each time with new weights, a new optimiser state and a new input pipeline, while other
processes keep the cores busy. After each step all tensors of the batch, of the logs, of the weights and of the
optimiser are hashed; each run is compared with the first one of all. Printed is the first tensor that differs, with its
step, or that none does. Exit status 1 if one does.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUSY = "while True: sum(i * i for i in range(10**6))"


def _digest(tensor) -> str:
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest()[:16]


def worker(folder: pathlib.Path, runs: int, steps: int, deterministic: bool, micro: bool) -> None:
    """Prints a line of JSON for each run: [[name, digest] of each tensor of each step]."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.chdir(ROOT)
    import keras
    import tensorflow as tf

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    from helpers import tiny
    from mmv_tf.common import config
    from mmv_tf.inputs.pipeline import InputPipeline
    from mmv_tf.model.mmv import MMV

    settings = [line for line in tiny.bindings("unused", folder / "vocabulary.txt") if "TRAIN_DATA" not in line]
    config.parse(
        ["gin/fac.gin"],
        [
            *settings,
            "TRAIN_DATA = ''",
            f"a/Source.pattern = '{folder}/a/train-*'",
            f"b/Source.pattern = '{folder}/b/train-*'",
            "InputPipeline.sources = [@a/Source(), @b/Source()]",
            "InputPipeline.max_bad_records = 3",
            "InputPipeline.readers = 2",
            "InputPipeline.shuffle_window = 3",
            f"MMV.micro_batches = {2 if micro else 1}",
        ],
    )
    pipeline = InputPipeline()
    keras.utils.set_random_seed(0)
    model = MMV()
    model.compile(optimizer=keras.optimizers.Adam(0.002))
    model.build_by_call(pipeline.zeros(batch_size=1))
    model.optimizer.build(model.trainable_variables)
    model.source_names = pipeline.source_names
    state = {**model.named_variables(), **{f"adam/{v.name}": v for v in model.optimizer.variables}}
    first = {name: variable.numpy() for name, variable in state.items()}
    take_step = tf.function(model.take_step)
    for _ in range(runs):
        for name, variable in state.items():
            variable.assign(first[name])
        seen = []
        batches = iter(pipeline.training_dataset(8, seed=0))
        for step in range(1, steps + 1):
            batch = next(batches)
            seen += [[f"step {step}: {name} of the batch", _digest(value)] for name, value in sorted(batch.items())]
            seen.append([f"step {step}: logs", _digest(take_step(batch))])
            seen += [[f"step {step}: {name}", _digest(variable.numpy())] for name, variable in state.items()]
        print(json.dumps(seen), flush=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200, help="runs that are compared with the first one")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--busy", type=int, default=6, help="processes that keep the cores busy")
    parser.add_argument("--deterministic", action="store_true", help="with TensorFlow's op determinism")
    parser.add_argument("--micro_batches", action="store_true", help="with cached gradients")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    runs = -(-(args.pairs + 1) // args.processes)
    if args.worker:
        worker(pathlib.Path(args.worker), runs, args.steps, args.deterministic, args.micro_batches)
        return 0
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from helpers import tiny

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for source in ("a", "b"):
            tiny.make_records(folder / source, count=24 if source == "a" else 12, shards=2)
        tiny.write_vocabulary(folder / "vocabulary.txt")
        flags = [flag for flag in (sys.argv[1:] if argv is None else argv)]
        command = [sys.executable, __file__, *flags, f"--worker={folder}"]
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(args.busy)]
        try:
            logs = [folder / f"{number}.jsonl" for number in range(args.processes)]
            workers = []
            for log in logs:  # files: a process would wait for the reader of a pipe
                with log.open("w") as file:
                    workers.append(subprocess.Popen(command, stdout=file))
            failed = [number for number, process in enumerate(workers) if process.wait()]
            expected, compared, differing = None, 0, []
            for number, log in enumerate(logs):
                for run, line in enumerate(log.read_text().splitlines()):
                    seen = json.loads(line)
                    expected = expected or seen
                    compared += 1
                    apart = next((a[0] for a, b in zip(seen, expected, strict=True) if a != b), None)
                    if apart:
                        count = sum(a != b for a, b in zip(seen, expected, strict=True))
                        differing.append(f"process {number}, run {run}: first {apart}; {count} of {len(seen)} tensors")
                        print(differing[-1], flush=True)
        finally:
            for process in busy:
                process.kill()
    print(f"{compared - 1} runs compared with the first one, {args.steps} steps each: {len(differing)} differ")
    return 1 if differing or failed else 0


if __name__ == "__main__":
    sys.exit(main())
