"""The time of a training step on a CPU by kind of operation, and its memory at the peak.

    python benchmarks/profile_step.py                          # gin/fac.gin at full width, 2 clips of 16 x 128 x 128
    python benchmarks/profile_step.py --gin_param="S3D.rematerialise = True" --gin_param="train.batch_size = 4"

Operations are run one at a time (each on all cores), so that their times add up; TensorFlow's own profiler takes them.
The last line is the share of the step outside convolutions and matrix products.
"""

import argparse
import collections
import glob
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

GROUPS = {
    "convolutions": ("Conv", "Einsum"),
    "matrix products": ("MatMul",),
    "batch norm kernels": ("FusedBatchNorm",),
    "pooling": ("MaxPool", "AvgPool"),
    "variables and optimiser": ("Variable", "Resource"),
    "layout and copies": ("Concat", "Slice", "Split", "Pad", "Transpose", "Tile", "Pack", "Gather", "Reshape"),
    "reductions": ("Sum", "Mean", "Max", "Min", "Prod", "L2Loss", "BiasAddGrad"),
}


def group_of(kind: str) -> str:
    return next((group for group, parts in GROUPS.items() if any(part in kind for part in parts)), "elementwise")


def operations(folder: str) -> dict[str, tuple[int, float]]:
    """{kind of operation: (how often, seconds)} in the newest profile under `folder`."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    with open(glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)[-1], "rb") as file:
        space.ParseFromString(file.read())
    found = collections.defaultdict(lambda: [0, 0.0])
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name, _, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
            if name and not name.endswith(":") and kind.isidentifier():  # 'model/layer/op:Conv2D'
                found[kind.removeprefix("_MklNative")][0] += 1
                found[kind.removeprefix("_MklNative")][1] += event.duration_ps * 1e-12
    return {kind: tuple(values) for kind, values in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    from mmv_tf.common import config

    config.add_arguments(parser)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    small = ["train.batch_size = 2", "VideoInput.min_side = 144", "VideoInput.crop_size = 128"]
    args.gin_param = [*(() if args.gin_file else small), *args.gin_param]
    args.gin_file = args.gin_file or ["gin/fac.gin"]
    import tensorflow as tf
    import training

    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pipeline, model, batch_size = training.setting(args, folder)
        batch = next(iter(pipeline.training_dataset(batch_size)))
        step = tf.function(model.take_step)
        step(batch)[0].numpy()
        before = tf.config.experimental.get_memory_info("CPU:0")["current"]
        tf.config.experimental.reset_memory_stats("CPU:0")
        step(batch)[0].numpy()
        memory = tf.config.experimental.get_memory_info("CPU:0")["peak"] - before
        started = time.perf_counter()
        for _ in range(args.steps):
            step(batch)[0].numpy()
        seconds = (time.perf_counter() - started) / args.steps
        tf.profiler.experimental.start(folder, tf.profiler.experimental.ProfilerOptions(host_tracer_level=2))
        for _ in range(args.steps):
            step(batch)[0].numpy()
        tf.profiler.experimental.stop()
        found = operations(folder)
    total = sum(seconds for _, seconds in found.values())
    groups = collections.Counter()
    print(f"{'operation':38s}{'group':26s}{'a step':>8s}{'ms':>9s}{'share':>8s}")
    for kind, (count, spent) in sorted(found.items(), key=lambda item: -item[1][1]):
        groups[group_of(kind)] += spent
        if spent > 0.005 * total:
            line = f"{kind:38s}{group_of(kind):26s}{count // args.steps:8d}"
            print(f"{line}{1e3 * spent / args.steps:9.1f}{spent / total:8.1%}")
    print()
    for group, spent in groups.most_common():
        print(f"{group:38s}{1e3 * spent / args.steps:43.1f}{spent / total:8.1%}")
    video = " x ".join(map(str, batch["video"].shape))
    print(f"\nvideo {video}, {os.cpu_count()} cores: {seconds:.2f} s a step, {total / args.steps:.2f} s in operations;")
    print(f"tensors at the peak of a step: {memory / 2**20:.0f} MiB more than between steps;")
    products = groups["convolutions"] + groups["matrix products"]
    print(f"outside convolutions and matrix products: {1 - products / total:.1%}")


if __name__ == "__main__":
    main()
