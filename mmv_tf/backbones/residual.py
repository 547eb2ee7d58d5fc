"""Residual blocks with the activation in front (ResNet V2, He et al. 2016), for images [B,H,W,C]."""

from typing import Literal

import keras
from keras import ops

from mmv_tf.backbones.batch_norm import BatchNorm
from mmv_tf.backbones.layers import Conv, ConvNorm, scaled

Depth = Literal[10, 18, 34, 50, 101, 152, 200]
# depth: (blocks a group, whether the blocks are bottlenecks)
DEPTHS = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
    200: ((3, 24, 36, 3), True),
}


class Block(keras.layers.Layer):
    """batch norm -> ReLU -> convolutions, added to the input (or to its projection), with nothing behind.

    Bottleneck: 1x1 to a quarter of the channels, 3x3 with the stride, 1x1 to `channels`. Basic: two 3x3, the stride
    on the first. The projection, where there is one, is taken from the activated input.

    Args:
      channels: output channels.
      stride: of height and width.
      bottleneck: see above.
      projection: whether the shortcut is a 1x1 convolution with the stride.
      shift: a function (maps [N,H,W,C], frames a clip) -> maps, applied to the activated input of the residual
        branch, not to that of the shortcut.
    """

    def __init__(self, channels, stride=1, bottleneck=True, projection=False, shift=None, **kwargs):
        super().__init__(**kwargs)
        dtype = {"dtype": self.dtype_policy}
        self.shift = shift
        self.norm = BatchNorm(name="norm", **dtype)
        if bottleneck:
            inner = channels // 4
            self.convs = [
                ConvNorm(inner, (1, 1), name="conv_0", **dtype),
                ConvNorm(inner, (3, 3), stride, name="conv_1", **dtype),
            ]
            self.last = Conv(channels, (1, 1), name="conv_2", **dtype)
        else:
            self.convs = [ConvNorm(channels, (3, 3), stride, name="conv_0", **dtype)]
            self.last = Conv(channels, (3, 3), name="conv_1", **dtype)
        self.shortcut = Conv(channels, (1, 1), stride, name="shortcut", **dtype) if projection else None

    def build(self, input_shape):
        self.norm.build(input_shape)
        if self.shortcut is not None:
            self.shortcut.build(input_shape)
        for conv in (*self.convs, self.last):
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        for conv in (*self.convs, self.last):
            input_shape = conv.compute_output_shape(input_shape)
        return input_shape

    def call(self, x, training=False, frames=None):
        y = ops.relu(self.norm(x, training=training))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        if self.shift is not None:
            y = self.shift(y, frames)
        for conv in self.convs:
            y = conv(y, training=training)
        return shortcut + self.last(y)


def build(stem, groups, norm, channels: int):
    """Builds the parts of a ResNet whose images have so many channels."""
    shape = (None, None, None, channels)
    stem.build(shape)
    shape = stem.compute_output_shape(shape)
    for block in (block for blocks in groups for block in blocks):
        block.build(shape)
        shape = block.compute_output_shape(shape)
    norm.build(shape)


def groups(depth: int, width: float = 1.0, shift=None, dtype=None) -> list[list[Block]]:
    """The four groups of blocks of a ResNet V2.

    Raises:
      ValueError: there is no network of that depth, or the width leaves no channels.
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, not {depth}.")
    counts, bottleneck = DEPTHS[depth]
    made = []
    for group, count in enumerate(counts):
        channels = scaled(64 * 2**group * (4 if bottleneck else 1), width)
        made.append(
            [
                Block(
                    channels,
                    stride=2 if group > 0 and block == 0 else 1,
                    bottleneck=bottleneck,
                    # only where the number of channels changes
                    projection=block == 0 and (bottleneck or group > 0),
                    shift=shift,
                    name=f"group_{group}_block_{block}",
                    dtype=dtype,
                )
                for block in range(count)
            ]
        )
    return made
