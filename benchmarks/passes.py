"""Bytes that a training step reads and writes, by kind of operation: counted in its graph, on any machine.

    python benchmarks/passes.py                                 # gin/fac.gin, 128 clips; nothing is run
    python benchmarks/passes.py --gin_param="train.precision = 'mixed_bfloat16'"

On a graphics card whatever is no convolution or matrix product takes as long as its bytes take, once over the memory
for each operation; TensorFlow fuses few of them by itself. So this is what can be made less, and counted, without a
card. The graph is that of a TPU, of which all shapes are known, before grappler.
"""

import argparse
import collections
import math
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

# They hand on what they get.
_FREE = frozenset(
    "Const Placeholder Reshape Identity IdentityN StopGradient ReadVariableOp ExpandDims Squeeze PreventGradient "
    "VarHandleOp Shape ShapeN NoOp BroadcastGradientArgs Rank Size".split()
)


def _bytes(tensor) -> int:
    if tensor.dtype.size is None:  # a variable's handle
        return 0
    if not tensor.shape.is_fully_defined():
        return -1
    return math.prod(tensor.shape.as_list()) * tensor.dtype.base_dtype.size


def count(graph) -> tuple[dict[str, tuple[int, int, int]], int]:
    """({kind: (operations, bytes read, bytes written)}, operations of which a shape is unknown)."""
    found, unknown = collections.defaultdict(lambda: [0, 0, 0]), 0
    for op in graph.get_operations():
        if op.type in _FREE:
            continue
        read, written = [_bytes(one) for one in op.inputs], [_bytes(one) for one in op.outputs]
        unknown += -1 in read + written
        row = found[op.type]
        row[0] += 1
        row[1] += sum(size for size in read if size > 0)
        row[2] += sum(size for size in written if size > 0)
    return {kind: tuple(row) for kind, row in found.items()}, unknown


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    from mmv_tf.common import config

    config.add_arguments(parser)
    args = parser.parse_args()
    args.gin_param = ["train.batch_size = 128", *args.gin_param]
    args.gin_file = args.gin_file or ["gin/fac.gin"]
    import profile_step
    import tensorflow as tf
    import training

    with tempfile.TemporaryDirectory() as folder:
        pipeline, model, batch_size = training.setting(args, folder)
        model.compile(optimizer=model.optimizer, jit_compile=True)  # with it no shape is left open
        step = tf.function(model.take_step, autograph=False)
        graph = step.get_concrete_function(pipeline.element_spec(batch_size)).graph
    found, unknown = count(graph)
    total = sum(read + written for _, read, written in found.values())
    clip = 1e6 * batch_size
    groups = collections.Counter()
    print(f"{'operation':34s}{'group':26s}{'a step':>8s}{'read':>9s}{'written':>9s}{'share':>8s}   (MB a clip)")
    for kind, (number, read, written) in sorted(found.items(), key=lambda row: -sum(row[1][1:])):
        groups[profile_step.group_of(kind)] += read + written
        if read + written > 0.005 * total:
            line = f"{kind:34s}{profile_step.group_of(kind):26s}{number:8d}{read / clip:9.1f}{written / clip:9.1f}"
            print(f"{line}{(read + written) / total:8.1%}")
    for group, moved in groups.most_common():
        print(f"{group:60s}{moved / clip:26.1f}{moved / total:8.1%}")
    print(f"{'all':60s}{total / clip:26.1f} MB a clip, {sum(n for n, _, _ in found.values())} operations")

    print(f"{unknown} operations with a shape that is not known are not counted")


if __name__ == "__main__":
    main()
