"""R(2+1)D (Tran et al. 2018, A Closer Look at Spatiotemporal Convolutions for Action Recognition)."""

from typing import Literal

import keras
from keras import ops

from mmv_tf.backbones import layers
from mmv_tf.backbones.layers import ConvNorm
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


@configurable
class R2Plus1D(keras.layers.Layer):
    """R(2+1)D: clips [B,T,H,W,3] in [0,1] -> [B,512], the mean of the last map over time and space.

    A ResNet with 3-D basic blocks in which every t x d x d convolution from N to M channels is a 1 x d x d one, batch
    norm, ReLU and a t x 1 x 1 one. The channels between them are `factored_channels(N, M)`, so that the pair has as
    many weights as the full convolution (section 3.5).

    Parameters of R(2+1)D-18: 33,165,639, of which 33,139,479 are weights of convolutions. The 33.3 million in the table
    of MMV are those with a classifier of 400 classes (33,344,679). torchvision's 31.3 million come from taking the
    channels between from the first convolution of a block for both of them.

    Padding is SAME as everywhere here (the original pads evenly, which differs by a pixel at even sizes with stride 2).

    Args:
      depth: 18 or 34.
      width: multiplies the channels (to multiples of 8).
      rematerialise: see `TSMResNet`.
    """

    def __init__(self, depth: Literal[18, 34] = 18, width: Positive = 1.0, rematerialise: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.width, self.rematerialise = depth, width, rematerialise
        dtype = {"dtype": self.dtype_policy}
        inputs = layers.scaled(64, width)
        self.stem = [
            ConvNorm(layers.scaled(45, width) if width != 1 else 45, (1, 7, 7), (1, 2, 2), name="stem_0", **dtype),
            ConvNorm(inputs, (3, 1, 1), name="stem_1", **dtype),
        ]
        self.groups = []
        for group, count in enumerate(_BLOCKS[depth]):
            blocks = []
            for block in range(count):
                channels, stride = layers.scaled(64 * 2**group, width), 2 if group and not block else 1
                blocks.append(Block(inputs, channels, stride, name=f"group_{group}_block_{block}", **dtype))
                inputs = channels
            self.groups.append(blocks)
        self.output_dim = inputs

    for_images = False

    def get_config(self):
        names = ("depth", "width", "rematerialise")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        shape = layers.unknown_sizes(input_shape, 3)
        self.for_images = len(shape) == 4
        for part in (*self.stem, *(block for blocks in self.groups for block in blocks)):
            part.build(shape)
            shape = part.compute_output_shape(shape)

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'stem', 'group_0' ... 'group_3': maps [B,T',H',W',C], 'embedding': [B, output_dim]}."""
        layers.check_input(self, x)
        ends = {}
        x = ops.cast(x, self.compute_dtype)
        for conv in self.stem:
            x = layers.run(conv, x, self.rematerialise, training=training)
        ends["stem"] = x
        for i, blocks in enumerate(self.groups):
            for block in blocks:
                x = layers.run(block, x, self.rematerialise, training=training)
            ends[f"group_{i}"] = x
        return {**ends, "embedding": layers.over_map(x)}


def factored_channels(inputs: int, outputs: int) -> int:
    """Channels between (1,3,3) and (3,1,1), with which the pair has as many weights as one (3,3,3) convolution."""
    return (27 * inputs * outputs) // (9 * inputs + 3 * outputs)


class Block(keras.layers.Layer):
    """Two factored convolutions, added to the input or its projection, then ReLU; `stride` is of time and space."""

    def __init__(self, inputs: int, channels: int, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        dtype = {"dtype": self.dtype_policy}
        first, second = factored_channels(inputs, channels), factored_channels(channels, channels)
        self.convs = [
            ConvNorm(first, (1, 3, 3), (1, stride, stride), name="conv_0_space", **dtype),
            ConvNorm(channels, (3, 1, 1), (stride, 1, 1), name="conv_0_time", **dtype),
            ConvNorm(second, (1, 3, 3), name="conv_1_space", **dtype),
            ConvNorm(channels, (3, 1, 1), relu=False, name="conv_1_time", **dtype),
        ]
        self.shortcut = None
        if stride != 1 or inputs != channels:
            self.shortcut = ConvNorm(channels, (1, 1, 1), stride, relu=False, name="shortcut", **dtype)

    def build(self, input_shape):
        if self.shortcut is not None:
            self.shortcut.build(input_shape)
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        for conv in self.convs:
            input_shape = conv.compute_output_shape(input_shape)
        return input_shape

    def call(self, x, training=False):
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        for conv in self.convs:
            x = conv(x, training=training)
        return ops.relu(shortcut + x)
