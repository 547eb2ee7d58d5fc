"""Time of each backbone, forward and training step, beside the limit of the machine and beside other libraries.

    python benchmarks/backbones.py                          # S3D with both stems, TSM, audio and text
    python benchmarks/backbones.py --networks r2plus1d i3d --size 112 --batch 1 --jit
    python benchmarks/backbones.py --networks s3d_rgb --peer torch --peer-jax ~/deepmind-research

The limit is the rate of a 2048 x 2048 float32 matrix product, divided by the network's multiply-adds (a training step
counts three forward passes). The product, the network and its peers are called in turn. Times are the smallest and the
median of `--repeats` calls; 'first' is the first call, which compiles. The share of the limit is given by the clock and
by processor time; on a machine that others use as well, only the second says something (it leaves out what waits, so
that on a quiet one the first counts).
"""

import argparse
import statistics
import time

import peers


def networks(size: int, frames: int) -> dict:
    """{name: (constructor, shape of one input, dtype)}."""
    from mmv_tf import backbones

    clip, mel, words = (frames, size, size, 3), (150, 80, 1), (16,)
    return {
        "s3d_rgb": (lambda: backbones.S3D("rgb"), clip, "float32"),
        "s3d_s2d": (backbones.S3D, clip, "float32"),
        "tsm50": (backbones.TSMResNet, clip, "float32"),
        "r2plus1d": (backbones.R2Plus1D, clip, "float32"),
        "mc3": (lambda: backbones.VideoResNet(convolution="mixed"), clip, "float32"),
        "r3d50_slow": (lambda: backbones.VideoResNet(50, "slow", padding="same"), clip, "float32"),
        "i3d": (backbones.I3D, clip, "float32"),
        "audio50": (backbones.AudioResNet, mel, "float32"),
        "audio18": (lambda: backbones.AudioResNet(18), mel, "float32"),
        "text": (backbones.TextNetwork, words, "int32"),
    }


def in_turn(functions: dict, repeats: int) -> dict:
    """{name: {'first': seconds, 'clock': [seconds], 'processor': [seconds of all threads]}}; two calls not counted."""
    times = {name: {"clock": [], "processor": []} for name in functions}
    for call in range(repeats + 2):
        for name, function in functions.items():
            start, used = time.perf_counter(), time.process_time()
            function()
            spent = time.perf_counter() - start, time.process_time() - used
            if call == 0:
                times[name]["first"] = spent[0]
            elif call >= 2:
                times[name]["clock"].append(spent[0])
                times[name]["processor"].append(spent[1])
    return times


def matrix_product():
    """(a function that multiplies two float32 matrices, its operations): the limit of what a network can do."""
    import tensorflow as tf

    n = 2048
    matrix = tf.random.normal([n, n])
    return tf.function(lambda: tf.linalg.matmul(matrix, matrix)), 2 * n**3


def ours(make, x, jit: bool):
    """(multiply-adds of one input, forward, train) of a network of this library."""
    import tensorflow as tf

    from mmv_tf.model.cost import multiply_adds

    network = make()
    network(x[:1])
    variables = [v.value for v in network.trainable_variables]

    @tf.function(jit_compile=jit)
    def forward():
        return network(x, training=False)

    @tf.function(jit_compile=jit)
    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(network(x, training=True)))
        return tape.gradient(loss, variables)

    count = multiply_adds(lambda x: network(x, training=False), tf.TensorSpec((1, *x.shape[1:]), x.dtype))
    return count, forward, train


def measure(name, make, shape, dtype, args) -> list[tuple[str, int, dict]]:
    """[(who, multiply-adds of one input, {'forward' and 'train': times}, {the same: rates of the product})]."""
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    shape = (args.batch, *shape)
    values = random.integers(1, 1000, shape) if dtype == "int32" else random.uniform(size=shape)
    who = {name: ours(make, tf.constant(values, dtype), args.jit)}
    if args.peer:
        who["  torch"] = peers.torch_network(name, values.astype(dtype))
    if args.peer_jax:
        who["  jax"] = peers.jax_network(args.peer_jax, name, values.astype(dtype))
    who = {n: found for n, found in who.items() if found is not None}
    product, operations = matrix_product()
    times, rates = {}, {}
    for i, what in enumerate(("forward", "train")):
        times[what] = in_turn({**{n: found[1 + i] for n, found in who.items()}, "product": product}, args.repeats)
        spent = times[what].pop("product")
        rates[what] = {kind: operations / min(spent[kind]) for kind in ("clock", "processor")}
    return [(n, found[0] or who[name][0], {what: times[what][n] for what in times}, rates) for n, found in who.items()]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["s3d_rgb", "s3d_s2d", "tsm50", "audio50", "text"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=200, help="height and width of a frame")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jit", action="store_true", help="compile ours with XLA")
    parser.add_argument("--peer", choices=["torch"], help="also time torchvision's network of that name, if any")
    parser.add_argument("--peer-jax", metavar="PATH", help="also time the released code: deepmind-research at PATH")
    args = parser.parse_args(argv)
    if args.peer:
        peers.import_torch()
    known = networks(args.size, args.frames)
    for name in args.networks:
        if name not in known:
            parser.error(f"unknown network {name!r}; known: {', '.join(known)}")
    print(f"batch {args.batch}, clips of {args.frames} x {args.size} x {args.size}, XLA {'on' if args.jit else 'off'}")
    columns = "s (median)  clips/s  first  limit: clock, processor"
    print(f"{'network':10s} {'GMAC':>7s} {'GFLOP/s':>8s}   forward {columns}   train {columns}")
    for name in args.networks:
        for who, count, times, rates in measure(name, *known[name], args):
            line = f"{who:10s} {count / 1e9:7.2f} {max(r['clock'] for r in rates.values()) / 1e9:8.0f}"
            for what, passes in (("forward", 1), ("train", 3)):
                spent, operations = times[what], 2 * passes * args.batch * count
                clock, processor = (
                    operations / min(spent[kind]) / rates[what][kind] for kind in ("clock", "processor")
                )
                best = min(spent["clock"])
                line += f"   {best:8.3f} ({statistics.median(spent['clock']):7.3f}) {args.batch / best:8.2f}"
                line += f"  {spent['first']:5.1f}  {clock:12.0%} {processor:10.0%}" + " " * 4
            print(line, flush=True)


if __name__ == "__main__":
    main()
