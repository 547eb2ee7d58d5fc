"""Convolutions and pooling over [B, T, H, W, C], run in the form that is fastest without changing the numbers.

TensorFlow's 3-D kernels are slow where one of the extents is 1 (on a CPU a (1,3,3) + (3,1,1) pair trains about twice
as fast as 2-D convolutions), so each kernel shape takes the cheapest operation that computes the same sums. Kernels
keep the five axes of the released networks: [T, H, W, C_in, C_out].

A layer that is built for images [B, H, W, C] has no time axis at all: its kernel is [H, W, C_in, C_out], and strides
and windows lose their first extent. See `mmv_tf.deflation.network`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import keras
from keras import ops

from mmv_tf.backbones import batch_norm

Padding = Literal["same", "even", "least"]
"""What stands beyond the edges: zeros for a convolution, nothing that could be a maximum for a pooling.

All three give ceil(size / stride) places; they differ where there are strides, in where the first window begins.

- 'same': TensorFlow's. So much that the last window fits, half of it before: it depends on the size.
- 'even': (k - 1) // 2 before whatever the size, as PyTorch's networks pad odd kernels (the same on both sides), and
  what SimCLR calls fixed padding.
- 'least': (k - stride) // 2 before, for pooling: what MIL-NCE's PyTorch network has for TensorFlow's 'same', which it
  equals where the stride divides the size.
"""


def fan_in_normal() -> keras.initializers.Initializer:
    """The reference's initialiser (haiku): normal, cut at two sigma, with sigma = 1/sqrt(fan_in) before the cut.

    Keras makes up for the spread that the cut takes away (a factor .8796); the scale takes that back.
    """
    return keras.initializers.VarianceScaling(0.87962566103423978**2, "fan_in", "truncated_normal")


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, to a multiple of 8.

    Raises:
      ValueError: `width` is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width must be above 0, not {width}.")
    return max(8, 8 * round(channels * width / 8))


def convolve(x, kernel, strides=(1, 1, 1), padding: Padding = "same"):
    """3-D convolution: x [B,T,H,W,C], kernel [t,h,w,C,D] -> [B,T/st,H/sh,W/sw,D], sizes rounded up."""
    time, height, width = kernel.shape[:3]
    if time == strides[0] == 1:
        return over_frames(x, lambda frames: convolve_images(frames, kernel[0], strides[1:], padding))
    if height == width == strides[1] == strides[2] == 1:
        kernel = kernel[:, :, 0]
        return over_positions(x, lambda rows: convolve_images(rows, kernel, (strides[0], 1), padding))
    x, strides = _looked_at(x, kernel.shape[:3], strides)
    x, padding = _padded(x, kernel.shape[:3], strides, padding)
    return ops.conv(x, kernel, strides, padding=padding)


def convolve_images(x, kernel, strides, padding: Padding = "same"):
    """2-D convolution: x [N,H,W,C], kernel [h,w,C,D] -> [N,H/sh,W/sw,D], sizes rounded up."""
    x, strides = _looked_at(x, kernel.shape[:2], strides)
    x, padding = _padded(x, kernel.shape[:2], strides, padding)
    return ops.conv(x, kernel, strides, padding=padding)


def _looked_at(x, extents, strides):
    """What a kernel of one place with strides looks at, and the strides that are left.

    oneDNN's gradient of such a convolution writes beyond its memory on some processors (8 channels to 16, TensorFlow
    2.20), and ends the process.
    """
    if any(extent != 1 for extent in extents) or all(stride == 1 for stride in strides):
        return x, strides
    return x[(slice(None), *(slice(None, None, stride) for stride in strides))], (1,) * len(strides)


def max_pool(x, window, strides, padding: Padding = "same"):
    """3-D max pooling: [B,T,H,W,C] -> [B,T/st,H/sh,W/sw,C], sizes rounded up; of images [B,H,W,C] over space alone.

    The maximum of a box is the maximum over time of the maxima over space: 2-D kernels instead of the 3-D ones.
    """

    def pool(x, window, strides):
        x, kind = _padded(x, window, strides, padding, beyond=float("-inf"))
        return ops.max_pool(x, window, strides, padding=kind)

    if len(x.shape) == 4:
        return pool(x, window[1:], strides[1:])
    if window[1:] != (1, 1) or strides[1:] != (1, 1):
        x = over_frames(x, lambda frames: pool(frames, window[1:], strides[1:]))
    if window[0] != 1 or strides[0] != 1:
        x = over_positions(x, lambda rows: pool(rows, (window[0], 1), (strides[0], 1)))
    return x


def _padded(x, extents, strides, padding: Padding, beyond: float = 0.0):
    """`x` padded as `padding` says, and what is left to do for Keras: 'same' or 'valid'."""
    pads = [(0, 0)] * (len(extents) + 2)
    for axis, (extent, stride) in enumerate(zip(extents, strides, strict=True), 1):
        before = max(extent - (stride if padding == "least" else 1), 0) // 2
        # With extent - 1 in all, windows begin at every multiple of the stride that is in the input, and nowhere else.
        pads[axis] = (before, extent - 1 - before)
    # Without strides all three paddings are one, and the kernels of TensorFlow pad for nothing.
    if padding == "same" or all(s == 1 or k == 1 for k, s in zip(extents, strides, strict=True)):
        return x, "same"
    return ops.pad(x, pads, constant_values=beyond), "valid"


def over_frames(x, function):
    """Applies a function of images [N,H,W,C] to every frame of [B,T,H,W,C]."""
    batch, frames = ops.shape(x)[:2]
    y = function(ops.reshape(x, (-1, *ops.shape(x)[2:])))
    return ops.reshape(y, (batch, frames, *ops.shape(y)[1:]))


def over_positions(x, function):
    """Applies a function of [B,T,N,C] to [B,T,H,W,C] with N = H*W; it may change T and C."""
    batch, frames, height, width, channels = ops.shape(x)
    y = function(ops.reshape(x, (batch, frames, height * width, channels)))
    return ops.reshape(y, (batch, ops.shape(y)[1], height, width, ops.shape(y)[3]))


def space_to_depth(x):
    """[B,T,H,W,C] -> [B,T/2,H/2,W/2,8C]: each 2x2x2 box becomes channels, in the order (dt, dh, dw, c).

    Images [B,H,W,C] -> [B,H/2,W/2,4C], in the order (dh, dw, c). Odd sizes are padded with a zero frame, row or column
    at the end. The reference takes even sizes only.
    """
    sizes = ops.shape(x)[1:-1]
    if any(not isinstance(n, int) or n % 2 for n in sizes):
        x = ops.pad(x, [(0, 0), *((0, n % 2) for n in sizes), (0, 0)])
    batch, *sizes, channels = ops.shape(x)
    halves = [n // 2 for n in sizes]
    x = ops.reshape(x, (batch, *(n for half in halves for n in (half, 2)), channels))
    axes = range(1, 2 * len(sizes) + 1)
    x = ops.transpose(x, (0, *axes[::2], *axes[1::2], axes[-1] + 1))
    return ops.reshape(x, (batch, *halves, 2 ** len(sizes) * channels))


def mean(x, axes):
    """Mean over `axes`, summed in float32 also where `x` is bfloat16; in the dtype of `x`."""
    wide = x if x.dtype == "float64" else ops.cast(x, "float32")
    return ops.cast(ops.mean(wide, axes), x.dtype)


def over_map(x):
    """The mean of each map: [B,...,C] -> [B,C]."""
    return mean(x, tuple(range(1, len(x.shape) - 1)))


def unknown_sizes(input_shape, channels: int) -> tuple:
    """The shape of an input of any size: of images if `input_shape` is one of images, otherwise of clips."""
    axes = 4 if input_shape is None else len(input_shape) - 1
    return (*[None] * axes, channels)


def check_input(network, x) -> None:
    """Builds `network` if need be, for clips or for images, and checks that `x` is what it is built for.

    Raises:
      ValueError: `x` is something else; names the network.
    """
    if not network.built:
        network.build(x.shape)
    if len(x.shape) != (4 if network.for_images else 5) or x.shape[-1] != 3:
        takes = "images [B,H,W,3]" if network.for_images else "clips [B,T,H,W,3]"
        raise ValueError(f"{type(network).__name__} takes {takes}, not {tuple(x.shape)}.")


def endpoints(network: keras.layers.Layer, x, training: bool = False) -> dict:
    """What `network.endpoints` gives, 'embedding' [B, D] among it; of a network without, its output alone."""
    if hasattr(network, "endpoints"):
        return network.endpoints(x, training=training)
    return {"embedding": network(x, training=training)}


def build_in_turn(parts, shape) -> tuple:
    """Builds layers that come one after the other, the first for inputs of `shape`; the shape behind the last."""
    for part in parts:
        part.build(shape)
        shape = part.compute_output_shape(shape)
    return shape


def shape_behind(parts, shape) -> tuple:
    """The shape behind layers that come one after the other, of inputs of `shape`."""
    for part in parts:
        shape = part.compute_output_shape(shape)
    return shape


def run_groups(groups, x, rematerialise: bool = False, training: bool = False, **options):
    """Groups of layers, all one after the other, by `run`: what the last one gives, and {'group_0' ...: of each}."""
    ends = {}
    for number, group in enumerate(groups):
        for layer in group:
            x = run(layer, x, rematerialise, training=training, **options)
        ends[f"group_{number}"] = x
    return x, ends


def run(layer, x, rematerialise: bool = False, training: bool = False, **options):
    """`layer(x)`; with `rematerialise` training keeps `x` alone for the backward pass, which computes the rest again.

    Moving averages are updated by the first of the two passes only.
    """
    if not (rematerialise and training):
        return layer(x, training=training, **options)
    mask, first = batch_norm.mask_here(), [True]

    def function(x):
        if first and first.pop():
            return layer(x, training=True, **options)
        with batch_norm.present(mask), batch_norm.averages_frozen():
            return layer(x, training=True, **options)

    return keras.remat(function)(x)


class Conv(keras.layers.Layer):
    """Convolution without bias. `kernel` is (h, w) for images [B,H,W,C] or (t, h, w) for clips.

    Built for images, (t, h, w) becomes (h, w).
    """

    def __init__(
        self,
        channels: int,
        kernel: tuple[int, ...],
        strides: tuple[int, ...] | int = 1,
        padding: Padding = "same",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels, self.padding = channels, padding
        self.kernel_size = tuple(kernel)
        self.strides = (strides,) * len(kernel) if isinstance(strides, int) else tuple(strides)

    def build(self, input_shape):
        extents = len(input_shape) - 2
        self.kernel_size, self.strides = self.kernel_size[-extents:], self.strides[-extents:]
        # Not cast by Keras: ConvNorm multiplies it in full precision first.
        shape = (*self.kernel_size, input_shape[-1], self.channels)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=fan_in_normal(), autocast=False)

    def call(self, x):
        return self.convolve(x, self.kernel)

    def convolve(self, x, kernel):
        """`x` with another kernel of the same shape."""
        kernel = ops.cast(kernel, self.compute_dtype)
        return (convolve_images if len(self.kernel_size) == 2 else convolve)(x, kernel, self.strides, self.padding)

    def compute_output_shape(self, input_shape):
        sizes = [n and -(-n // s) for n, s in zip(input_shape[1:-1], self.strides, strict=True)]
        return (input_shape[0], *sizes, self.channels)


class ConvNorm(keras.layers.Layer):
    """Convolution -> batch norm -> ReLU (or none). At inference the batch norm is folded into the kernel.

    `norm` has settings of `BatchNorm`.
    """

    convolution = Conv

    def __init__(
        self,
        channels: int,
        kernel: tuple[int, ...],
        strides=1,
        relu: bool = True,
        padding: Padding = "same",
        norm: Mapping | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.relu = relu
        self.conv = self.convolution(channels, kernel, strides, padding, name="conv", dtype=self.dtype_policy)
        self.norm = batch_norm.make(norm, name="norm", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, x, training=False):
        if training and self.norm.trainable:
            x = self.norm(self.conv(x), training=True)
            return ops.relu(x) if self.relu else x
        # One pass over the activations instead of three: convolution, bias and ReLU run as one kernel.
        multiplier, shift = self.norm.inference_affine()
        x = self.conv.convolve(x, self.conv.kernel * multiplier)
        x = x + ops.cast(shift, x.dtype)
        return ops.relu(x) if self.relu else x

    def compute_output_shape(self, input_shape):
        return self.conv.compute_output_shape(input_shape)


class Residual(keras.layers.Layer):
    """`convs` one after the other, added to the input or its `shortcut`, then ReLU; the last of them has no ReLU.

    Its subclasses make the two.
    """

    convs: Sequence[keras.layers.Layer]
    shortcut: keras.layers.Layer | None = None

    def build(self, input_shape):
        if self.shortcut is not None:
            self.shortcut.build(input_shape)
        build_in_turn(self.convs, input_shape)

    def compute_output_shape(self, input_shape):
        return shape_behind(self.convs, input_shape)

    def call(self, x, training=False):
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        for conv in self.convs:
            x = conv(x, training=training)
        return ops.relu(shortcut + x)
