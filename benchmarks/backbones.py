"""Time of each backbone, forward and training step, beside the limit that the machine's matrix product sets.

    python benchmarks/backbones.py                          # S3D with both stems, TSM, audio and text
    python benchmarks/backbones.py --networks r2plus1d i3d --size 112 --batch 1 --jit

The limit is the rate of a 2048 x 2048 float32 matrix product, measured before and after each network in the same run,
divided by the network's multiply-adds (a training step counts three forward passes). Times are the smallest and the
median of `--repeats` calls. The share of the limit is given by the clock and by processor time; on a machine that
others use as well, only the second says something (it leaves out what waits, so that on a quiet one the first counts).
"""

import argparse
import statistics
import time


def networks(size: int, frames: int) -> dict:
    """{name: (constructor, shape of one input, dtype)}."""
    from mmv_tf import backbones

    clip, mel, words = (frames, size, size, 3), (150, 80, 1), (16,)
    return {
        "s3d_rgb": (lambda: backbones.S3D("rgb"), clip, "float32"),
        "s3d_s2d": (backbones.S3D, clip, "float32"),
        "tsm50": (backbones.TSMResNet, clip, "float32"),
        "r2plus1d": (backbones.R2Plus1D, clip, "float32"),
        "i3d": (backbones.I3D, clip, "float32"),
        "audio50": (backbones.AudioResNet, mel, "float32"),
        "audio18": (lambda: backbones.AudioResNet(18), mel, "float32"),
        "text": (backbones.TextNetwork, words, "int32"),
    }


def seconds(function, repeats: int) -> list[tuple[float, float]]:
    """(clock, processor time of all threads) of `repeats` calls, after two that are not counted."""
    times = []
    for call in range(repeats + 2):
        start, used = time.perf_counter(), time.process_time()
        function()
        if call >= 2:
            times.append((time.perf_counter() - start, time.process_time() - used))
    return times


def matmul_rate() -> tuple[float, float]:
    """Operations a second of a float32 matrix product, by the clock and by processor time."""
    import tensorflow as tf

    n = 2048
    a = tf.random.normal([n, n])
    product = tf.function(lambda a: tf.linalg.matmul(a, a))
    return tuple(2 * n**3 / min(times) for times in zip(*seconds(lambda: product(a), 5), strict=True))


def measure(make, shape, dtype, batch: int, repeats: int, jit: bool) -> dict:
    """{'multiply_adds' of one input, 'forward', 'train': `seconds`, 'rates': `matmul_rate`}."""
    import tensorflow as tf

    from mmv_tf.backbones.cost import multiply_adds

    network = make()
    if dtype == "int32":
        x = tf.random.uniform([batch, *shape], maxval=1000, dtype=tf.int32)
    else:
        x = tf.random.uniform([batch, *shape])
    network(x)
    variables = [v.value for v in network.trainable_variables]

    @tf.function(jit_compile=jit)
    def forward():
        return network(x, training=False)

    @tf.function(jit_compile=jit)
    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(network(x, training=True)))
        return tape.gradient(loss, variables)

    rates, times = [matmul_rate()], {}
    for name, function in (("forward", forward), ("train", train)):
        times[name] = seconds(function, repeats)
        rates.append(matmul_rate())
    count = multiply_adds(lambda x: network(x, training=False), tf.TensorSpec((1, *shape), dtype))
    return {"multiply_adds": count, "rates": tuple(map(max, zip(*rates, strict=True))), **times}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["s3d_rgb", "s3d_s2d", "tsm50", "audio50", "text"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=200, help="height and width of a frame")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    args = parser.parse_args(argv)
    known = networks(args.size, args.frames)
    for name in args.networks:
        if name not in known:
            parser.error(f"unknown network {name!r}; known: {', '.join(known)}")
    print(f"batch {args.batch}, clips of {args.frames} x {args.size} x {args.size}, XLA {'on' if args.jit else 'off'}")
    columns = "s (median)  clips/s  limit: clock, processor"
    print(f"{'network':10s} {'GMAC':>7s} {'GFLOP/s':>8s}   forward {columns}   train {columns}")
    for name in args.networks:
        result = measure(*known[name], args.batch, args.repeats, args.jit)
        line = f"{name:10s} {result['multiply_adds'] / 1e9:7.2f} {result['rates'][0] / 1e9:8.0f}"
        for what, passes in (("forward", 1), ("train", 3)):
            clock, processor = zip(*result[what], strict=True)
            operations = 2 * passes * args.batch * result["multiply_adds"]
            shares = [operations / min(t) / rate for t, rate in zip((clock, processor), result["rates"], strict=True)]
            line += f"   {min(clock):8.3f} ({statistics.median(clock):7.3f}) {args.batch / min(clock):8.2f}"
            line += f"  {shares[0]:12.0%} {shares[1]:10.0%}" + " " * 4
        print(line, flush=True)


if __name__ == "__main__":
    main()
