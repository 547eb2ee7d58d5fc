"""TSM's shift in several forms, beside a copy of the same maps, and in a network; processor time, in turns.

    python benchmarks/temporal_shift.py
    python benchmarks/temporal_shift.py --pixels 112 --frames 8 --rounds 3       # a minute

Forms: `now`, of mmv_tf/backbones/tsm_resnet.py; `slices`, parts of x padded over time, as TSM is usually written;
`gather`, groups of channels as rows (the zeros at the ends are left out); `update`, two groups of channels written into
x; `depthwise`, a convolution over time with one 1 a channel; `compiled`, `now` by XLA. With the 1x1 convolution that
follows: `parts`, three products whose results are shifted and added, and `one product`, a convolution over three frames
with zeros in its kernel. In `update`, `depthwise` and these two the groups of channels do not change places: the kernel
that follows would have to be rearranged.

Of maps: time over that of a copy (x + a number), forward and with the gradient, for the four sizes of maps of a network
of 50 layers. Of the network: milliseconds, and what the shift adds to a network without one.
"""

import argparse
import os
import pathlib
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import tensorflow as tf  # noqa: E402

from mmv_tf.backbones import tsm_resnet  # noqa: E402

now = tsm_resnet.temporal_shift


def copy(x, frames, count):
    return x + tf.random.stateless_uniform([], [0, 1], dtype=x.dtype)  # nothing that could be left out


def slices(x, frames, count):
    clips = tf.reshape(x, [-1, frames, *x.shape[1:]])
    padded = tf.pad(clips, [[0, 0], [1, 1], [0, 0], [0, 0], [0, 0]])
    parts = [padded[:, 2:, ..., -count:], clips[..., count:-count], padded[:, :-2, ..., :count]]
    return tf.reshape(tf.concat(parts, axis=-1), tf.shape(x))


def gather(x, frames, count):
    groups, places = x.shape[-1] // count, x.shape[1] * x.shape[2]
    rows = tf.reshape(x, [-1, frames, places * groups, count])
    frame, row = tf.meshgrid(tf.range(frames), tf.range(places * groups), indexing="ij")
    group = row % groups
    frame = tf.clip_by_value(
        frame + tf.cast(group == 0, tf.int32) - tf.cast(group == groups - 1, tf.int32), 0, frames - 1
    )
    place = row - group + tf.where(group == 0, groups - 1, tf.where(group == groups - 1, 0, group))
    rows = tf.reshape(rows, [-1, frames * places * groups, count])
    return tf.reshape(tf.gather(rows, tf.reshape(frame * places * groups + place, [-1]), axis=1), tf.shape(x))


def update(x, frames, count):
    first, middle, last = tf.split(x, [count, x.shape[-1] - 2 * count, count], axis=-1)
    clips = [tf.reshape(part, [-1, frames, *part.shape[1:]]) for part in (first, last)]
    ahead = tf.reshape(tf.pad(clips[0][:, 1:], [[0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]), tf.shape(first))
    back = tf.reshape(tf.pad(clips[1][:, :-1], [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]]), tf.shape(last))
    for begin, part in ((0, ahead), (x.shape[-1] - count, back)):
        begin, end = [0, 0, 0, begin], [0, 0, 0, begin + count]
        x = tf.raw_ops.TensorStridedSliceUpdate(
            input=x, begin=begin, end=end, strides=[1] * 4, value=part, begin_mask=7, end_mask=7
        )
    return x


def depthwise(x, frames, count):
    places = x.shape[1] * x.shape[2]
    clips = tf.reshape(x, [-1, frames, places, x.shape[-1]])
    kernel = tf.repeat(tf.one_hot([2, 1, 0], 3, dtype=x.dtype), [count, x.shape[-1] - 2 * count, count], axis=0)
    kernel = tf.transpose(kernel)[:, None, :, None]
    return tf.reshape(tf.nn.depthwise_conv2d(clips, kernel, [1] * 4, "SAME"), tf.shape(x))


compiled = tf.function(now, jit_compile=True, autograph=False)


def none(x, frames, count):
    return x


def with_product(form):
    def run(x, frames, count):
        return tf.nn.conv2d(form(x, frames, count), kernel_for(x), 1, "SAME")

    return run


def kernel_for(x):
    return tf.fill([1, 1, x.shape[-1], x.shape[-1] // 4], tf.constant(0.01, x.dtype))


def parts(x, frames, count):
    sizes = [count, x.shape[-1] - 2 * count, count]
    products = [
        tf.nn.conv2d(part, kernel, 1, "SAME")
        for part, kernel in zip(tf.split(x, sizes, axis=-1), tf.split(kernel_for(x), sizes, axis=2), strict=True)
    ]
    first, middle, last = (tf.reshape(one, [-1, frames, *one.shape[1:]]) for one in products)
    ahead = tf.pad(first[:, 1:], [[0, 0], [0, 1], [0, 0], [0, 0], [0, 0]])
    back = tf.pad(last[:, :-1], [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]])
    return tf.reshape(tf.add_n([ahead, middle, back]), tf.shape(products[1]))


def one_product(x, frames, count):
    first, middle, last = tf.split(kernel_for(x)[0], [count, x.shape[-1] - 2 * count, count], axis=1)
    kernel = [[first * 0, middle * 0, last], [first * 0, middle, last * 0], [first, middle * 0, last * 0]]
    kernel = tf.stack([tf.concat(row, axis=1) for row in kernel])
    clips = tf.reshape(x, [-1, frames, x.shape[1] * x.shape[2], x.shape[-1]])
    found = tf.nn.conv2d(clips, kernel, 1, "SAME")
    return tf.reshape(found, [-1, *x.shape[1:3], found.shape[-1]])


FORMS = {"copy": copy, "now": now, "slices": slices, "gather": gather, "update": update, "depthwise": depthwise}
FORMS |= {"compiled": compiled}
FOLLOWED = {"none": with_product(none), "copy": with_product(copy), "now": with_product(now)}
FOLLOWED |= {"depthwise": with_product(depthwise), "parts": parts, "one product": one_product}


def in_turns(functions, rounds):
    """{name: processor seconds a call}, medians; each round calls all of them."""
    taken = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            tf.nest.map_structure(lambda one: one.shape, function())
            if number:  # the first traces
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def of_maps(forms, x, frames, rounds):
    """{name: (forward, with the gradient)}, processor seconds."""
    count = x.shape[-1] // 8

    def forward(form):
        return tf.function(lambda x: form(x, frames, count), autograph=False)

    def both(form):
        def run(x):
            y = form(x, frames, count)
            return y, tf.gradients(y, x, grad_ys=y)[0]

        return tf.function(run, autograph=False)

    made = {(name, kind): f(form) for name, form in forms.items() for kind, f in (("f", forward), ("b", both))}
    taken = in_turns({key: lambda f=f: f(x) for key, f in made.items()}, rounds)
    return {name: (taken[name, "f"], taken[name, "b"]) for name in forms}


def of_network(x, depth, rounds):
    """{name: (forward, training step without the optimiser)}, processor seconds."""
    network, made = tsm_resnet.TSMResNet(depth=depth), {}
    network(x[:, :2, :64, :64])

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(x, training=True) ** 2)
        return tape.gradient(loss, network.trainable_variables)

    for name in ("none", "copy", "now", "depthwise"):
        for kind, run in (("f", network), ("b", step)):
            tsm_resnet.temporal_shift = {**FORMS, "none": none}[name]  # read when it is traced
            made[name, kind] = tf.function(lambda x, run=run: run(x), autograph=False).get_concrete_function(x)
    tsm_resnet.temporal_shift = now
    taken = in_turns({key: lambda f=f: f(x) for key, f in made.items()}, rounds)
    return {name: (taken[name, "f"], taken[name, "b"]) for name, _ in made}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=200)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    maps = [
        tf.random.stateless_uniform([args.clips * args.frames, side, side, 64 * 4 * 2**group], [group, 1])
        for group, side in enumerate(-(-args.pixels // (4 * 2**group)) for group in range(4))
    ]
    for title, forms in (("the shift alone", FORMS), ("with the 1x1 convolution behind it", FOLLOWED)):
        print(f"{title}; over a copy:" if forms is FORMS else f"{title}; ms:")
        found = [of_maps(forms, x, args.frames, args.rounds) for x in maps]
        heads = "".join(f"{'x'.join(map(str, x.shape[1:])):>19s}" for x in maps)
        print(f"{'':14s}{heads}    forward, with the gradient", flush=True)
        for name in forms:
            cells = [
                [t / o if forms is FORMS else 1000 * t for t, o in zip(one[name], one["copy"], strict=True)]
                for one in found
            ]
            print(f"{name:14s}" + "".join(f"{f:10.2f}, {b:7.2f}" for f, b in cells), flush=True)
    clip = tf.random.stateless_uniform([args.clips, args.frames, args.pixels, args.pixels, 3], [0, 1])
    found = of_network(clip, args.depth, max(3, args.rounds // 2))
    print(f"network of {args.depth} layers, forward and training step:")
    for name, times in found.items():
        cells = [f"{1000 * t:8.0f} ms ({100 * (t / o - 1):+5.1f} %)" for t, o in zip(times, found["none"], strict=True)]
        print(f"{name:14s}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
