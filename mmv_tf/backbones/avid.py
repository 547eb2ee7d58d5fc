"""The two networks of AVID (arXiv 2004.12943): an R(2+1)D with its norms elsewhere, and a plain one of sound.

Both end in the greatest value of each map. They are made after the figures of the published ones (sizes, order of the
parts, outputs for given weights; facebookresearch/AVID-CMA, CC BY-NC 4.0, of which nothing else is here).
"""

import functools
from collections.abc import Mapping
from typing import Literal

import keras
from keras import ops

from mmv_tf.backbones import batch_norm, layers
from mmv_tf.backbones.layers import Conv, ConvNorm
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive

_CHANNELS = (64, 128, 256, 512)
_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def _greatest(x):
    """[B,...,C] -> [B,C]."""
    return ops.max(x, tuple(range(1, len(x.shape) - 1)))


class _OfPictures(Conv):
    """A convolution over time and space of few channels, as one over space of a frame with those around it.

    The same sums; their gradient takes a fortieth of the time on a CPU (3x7x7 of 16 clips of 8 x 32 x 32, 231 ms).
    Without a stride in time.
    """

    def convolve(self, x, kernel):
        if len(self.kernel_size) == 2:
            return super().convolve(x, kernel)
        time, *extents, inputs, outputs = kernel.shape
        frames = ops.shape(x)[1]
        padded = ops.pad(x, [(0, 0), ((time - 1) // 2, time // 2), (0, 0), (0, 0), (0, 0)])
        around = ops.concatenate([padded[:, i : i + frames] for i in range(time)], axis=-1)
        kernel = ops.transpose(ops.cast(kernel, self.compute_dtype), (1, 2, 0, 3, 4))
        kernel = ops.reshape(kernel, (*extents, time * inputs, outputs))
        convolve = functools.partial(layers.convolve_images, kernel=kernel, strides=self.strides[1:])
        return layers.over_frames(around, functools.partial(convolve, padding=self.padding))


class _Stem(ConvNorm):
    convolution = _OfPictures


class Block(keras.layers.Layer):
    """1x3x3, 3x1x1, 1x3x3, each with batch norm and ReLU, then 3x1x1; the input is added, then batch norm and ReLU.

    The first two have the strides. Where the shape changes, a 1x1x1 convolution without a norm stands for the input.
    """

    def __init__(self, inputs: int, channels: int, stride: int, norm=None, **kwargs):
        super().__init__(**kwargs)
        options = {"padding": "even", "dtype": self.dtype_policy}
        self.convs = [
            ConvNorm(channels, (1, 3, 3), (1, stride, stride), norm=norm, name="conv_0_space", **options),
            ConvNorm(channels, (3, 1, 1), (stride, 1, 1), norm=norm, name="conv_0_time", **options),
            ConvNorm(channels, (1, 3, 3), norm=norm, name="conv_1_space", **options),
        ]
        self.last = Conv(channels, (3, 1, 1), (1, 1, 1), name="conv_1_time", **options)
        self.norm = batch_norm.make(norm, name="norm", dtype=self.dtype_policy)
        changes = stride > 1 or inputs != channels
        self.shortcut = Conv(channels, (1, 1, 1), stride, name="shortcut", **options) if changes else None

    def build(self, input_shape):
        if self.shortcut is not None:
            self.shortcut.build(input_shape)
        self.norm.build(layers.build_in_turn((*self.convs, self.last), input_shape))

    def compute_output_shape(self, input_shape):
        return layers.shape_behind((*self.convs, self.last), input_shape)

    def call(self, x, training=False):
        shortcut = x if self.shortcut is None else self.shortcut(x)
        for conv in self.convs:
            x = conv(x, training=training)
        return ops.relu(self.norm(shortcut + self.last(x), training=training))


@configurable
class AVIDVideo(keras.layers.Layer):
    """Clips [B,T,H,W,3] -> [B,512], the greatest value of each map: AVID's R(2+1)D-18, 15,379,136 parameters.

    The stem is a 3x7x7 with a 1x3x3 max pool; all widths are the group's own, and the last norm of a block comes after
    the addition. The tables of MMV have a R(2+1)D-50 of 46.9 million in AVID's row; the published code has none.

    Args:
      depth: 10, 18 or 34.
      width: multiplies the channels (to multiples of 8).
      norm: settings of `BatchNorm`, such as {'epsilon': 1e-3}, for this network's alone.
      rematerialise: see `TSMResNet`.
    """

    def __init__(
        self,
        depth: Literal[10, 18, 34] = 18,
        width: Positive = 1.0,
        norm: Mapping[str, float | bool] | None = None,
        rematerialise: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.depth, self.width, self.norm, self.rematerialise = depth, width, norm, rematerialise
        options = {"norm": norm, "dtype": self.dtype_policy}
        inputs = layers.scaled(_CHANNELS[0], width)
        self.stem = _Stem(inputs, (3, 7, 7), (1, 2, 2), padding="even", name="stem", **options)
        self.groups = []
        for group, (count, channels) in enumerate(zip(_BLOCKS[depth], _CHANNELS, strict=True)):
            blocks, channels = [], layers.scaled(channels, width)
            for block in range(count):
                stride = 2 if group and not block else 1
                blocks.append(Block(inputs, channels, stride, name=f"group_{group}_block_{block}", **options))
                inputs = channels
            self.groups.append(blocks)
        self.output_dim = inputs

    for_images = False

    def get_config(self):
        names = ("depth", "width", "norm", "rematerialise")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        shape = layers.unknown_sizes(input_shape, 3)
        self.for_images = len(shape) == 4
        layers.build_in_turn((self.stem, *(block for blocks in self.groups for block in blocks)), shape)

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'stem', 'group_0' ... 'group_3': maps [B,T',H',W',C], 'embedding': [B, output_dim]}."""
        layers.check_input(self, x)
        x = layers.run(self.stem, ops.cast(x, self.compute_dtype), self.rematerialise, training=training)
        x = layers.max_pool(x, (1, 3, 3), (1, 2, 2), "even")
        ends = {"stem": x}
        x, of_groups = layers.run_groups(self.groups, x, self.rematerialise, training)
        ends |= of_groups
        return {**ends, "embedding": _greatest(x)}


@configurable
class AVIDAudio(keras.layers.Layer):
    """Spectrogram [B,T',M,1] -> [B,512], the greatest value of each map: AVID's sound network, 4,725,696 parameters.

    7x7 with a stride of two, then four groups of two 3x3, of which the first has the stride: two, two, two and one;
    each with batch norm and ReLU.

    Args:
      width: multiplies the channels (to multiples of 8).
      norm: settings of `BatchNorm`, such as {'epsilon': 1e-3}, for this network's alone.
    """

    has_last_conv = True  # among its end points

    def __init__(self, width: Positive = 1.0, norm: Mapping[str, float | bool] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.width, self.norm = width, norm
        options = {"padding": "even", "norm": norm, "dtype": self.dtype_policy}
        channels = [layers.scaled(one, width) for one in _CHANNELS]
        self.stem = ConvNorm(channels[0], (7, 7), 2, name="stem", **options)
        self.groups = [
            [ConvNorm(c, (3, 3), s if not i else 1, name=f"group_{g}_conv_{i}", **options) for i in range(2)]
            for g, (c, s) in enumerate(zip(channels, (2, 2, 2, 1), strict=True))
        ]
        self.output_dim = channels[-1]

    def get_config(self):
        return {**super().get_config(), "width": self.width, "norm": self.norm}

    def build(self, input_shape):
        parts = (self.stem, *(conv for convs in self.groups for conv in convs))
        layers.build_in_turn(parts, (None, None, None, 1))

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'stem', 'group_0' ... 'group_3': maps [B,T',F,C], 'last_conv': the last of them, 'embedding': [B, C]}."""
        if len(x.shape) != 4 or x.shape[-1] != 1:
            raise ValueError(f"AVIDAudio takes spectrograms [B,T,M,1], not {tuple(x.shape)}.")
        if not self.built:
            self.build(x.shape)
        x = self.stem(ops.cast(x, self.compute_dtype), training=training)
        ends = {"stem": x}
        x, of_groups = layers.run_groups(self.groups, x, training=training)
        ends |= of_groups
        return {**ends, "last_conv": x, "embedding": _greatest(x)}
