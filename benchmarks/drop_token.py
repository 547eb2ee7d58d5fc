"""Time and memory of a training step of the video transformer against DropToken's rate, on a CPU.

    python benchmarks/drop_token.py --size base --output benchmarks/results/drop_token_base.json
    python benchmarks/drop_token.py --size tiny --batch 2 --frames 8 --pixels 64

A row is a process: gradients of a sum of squares by all weights, with dropout. Time is the least and the median of
`--repeats` steps, by the clock and by processor time of all threads (which alone says something on a machine that
others use); memory is the most that the process had, weights, gradients and TensorFlow included. 'plain Keras' is the
same network of keras.layers alone (MultiHeadAttention, Dense, Dropout), without DropToken; its blocks, tokens
and widths are the same.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

RATES = (0.0, 0.25, 0.5, 0.75)


def plain_keras(size: str, shape, dropout: float = 0.1):
    """The network of `size` without DropToken, of Keras' layers alone: clips -> [B, dim]."""
    import keras
    from keras import layers

    from mmv_tf.backbones.transformers.transformer import SIZES

    found, (frames, height, width, _) = SIZES[size], shape
    clip = keras.Input(shape)
    # Not Conv3D, whose gradient takes minutes on a CPU.
    x = layers.Reshape((frames // 4, 4, height // 16, 16, width // 16, 16, 3))(clip)
    x = layers.Reshape((-1, 4 * 16 * 16 * 3))(layers.Permute((1, 3, 5, 2, 4, 6, 7))(x))
    x = layers.Dense(found.dim)(x)
    x = layers.Concatenate(axis=1)([layers.Lambda(lambda x: x[:, :1] * 0)(x), x])  # the AGG token
    place = keras.ops.arange(x.shape[1])[None]
    x = layers.Dropout(dropout)(x + layers.Embedding(x.shape[1], found.dim)(place))
    for _ in range(found.layers):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.MultiHeadAttention(found.heads, found.dim // found.heads, dropout=dropout)(y, y)
        x = x + layers.Dropout(dropout)(y)
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dropout(dropout)(layers.Dense(found.hidden, "gelu")(y))
        x = x + layers.Dropout(dropout)(layers.Dense(found.dim)(y))
    x = layers.Dropout(dropout)(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(clip, x[:, 0])


def measure(args) -> dict:
    """One row, in this process."""
    import tensorflow as tf

    from mmv_tf.backbones import VideoTokens, VideoTransformer

    shape = (args.frames, args.pixels, args.pixels, 3)
    x = tf.random.stateless_uniform([args.batch, *shape], [0, 1])
    if args.who == "plain Keras":
        network = plain_keras(args.size, shape)
    else:
        positions = (args.frames // 4, args.pixels // 16, args.pixels // 16)
        tokens = VideoTokens(positions=positions, drop_token=args.rate)
        network = VideoTransformer(args.size, tokens=tokens, rematerialise=args.who == "ours, rematerialised")
    network(x[:1])
    variables = [v.value for v in network.trainable_variables]

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(network(x, training=True)))
        return tape.gradient(loss, variables)

    clock, processor = [], []
    for call in range(args.repeats + 1):
        start, used = time.perf_counter(), time.process_time()
        [tf.convert_to_tensor(g) for g in step()][0].numpy()
        if call:
            clock.append(time.perf_counter() - start)
            processor.append(time.process_time() - used)
    return {
        "network": args.who,
        "drop_token": args.rate,
        "tokens": None if args.who == "plain Keras" else int(network.endpoints(x, training=True)["tokens"].shape[1]),
        "seconds": min(clock),
        "median": statistics.median(clock),
        "processor_seconds": min(processor),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help="measure plain Keras layers, too")
    parser.add_argument("--output", default="", help="a JSON file of all rows")
    parser.add_argument("--who", default="", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.who:
        print(json.dumps(measure(args)))
        return
    given = sys.argv[1:] if argv is None else argv
    rows = []
    print(f"{'network':22s} {'rate':>5s} {'tokens':>7s} {'seconds':>8s} {'median':>7s} {'processor':>10s} {'GiB':>6s}")
    kinds = [("ours", rate) for rate in RATES] + [("ours, rematerialised", 0.0)] + [("plain Keras", 0.0)] * args.plain
    for who, rate in kinds:
        command = [sys.executable, __file__, *given, "--who", who, "--rate", str(rate)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        rows.append(row)
        numbers = f"{row['seconds']:8.3f} {row['median']:7.3f} {row['processor_seconds']:10.3f} {row['peak_gib']:6.2f}"
        print(f"{who:22s} {rate:5.2f} {row['tokens'] or '-':>7} {numbers}", flush=True)
    if args.output:
        about = {name: getattr(args, name) for name in ("size", "batch", "frames", "pixels", "repeats")}
        pathlib.Path(args.output).write_text(json.dumps({"settings": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
