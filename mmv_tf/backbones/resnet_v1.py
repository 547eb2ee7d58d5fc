"""Residual networks of images and sounds with the activation behind (ResNet V1, He et al. 2015)."""

from collections.abc import Mapping
from typing import Literal

import keras
from keras import ops

from mmv_tf.backbones import layers
from mmv_tf.backbones.layers import ConvNorm
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive

# depth: (blocks a group, whether the blocks are bottlenecks)
_BLOCKS = {
    9: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}


@configurable
class ResNetV1(keras.layers.Layer):
    """Images [B,H,W,3], clips [B,T,H,W,3] or log-mel [B,T',M,1] -> [B, output_dim], the mean of the last map.

    A clip is a bag of images: each frame passes through the network for itself, and the mean is over all frames; with
    one frame it is an image. 512 channels at the end for depths 9, 18 and 34, 2048 for 50 and 101, times the width.

    With its weights it equals SimCLR's ResNet-50 (google-research/simclr, tf2/resnet.py; 23,508,032 parameters, and
    93,907,072 and 375,378,176 with widths 2 and 4) with pool_padding='same', and GDT's sound network
    (facebookresearch/GDT, model.py: depth 9, 4,899,520 parameters) with the defaults. Bottlenecks have their stride
    on the 3x3 convolution ("V1.5").

    Args:
      depth: 9, 18, 34, 50 or 101.
      width: multiplies the channels (to multiples of 8).
      padding: of convolutions, see `layers.Padding`.
      pool_padding: of the max pool behind the stem.
      zero_last_scale: training starts with blocks that pass on their input alone: the scale of the last batch norm of
        each is 0 (SimCLR, Goyal et al. 2017).
      norm: settings of `BatchNorm`, such as {'epsilon': 1e-3}, for this network's alone.
      rematerialise: see `TSMResNet`.
    """

    def __init__(
        self,
        depth: Literal[9, 18, 34, 50, 101] = 50,
        width: Positive = 1.0,
        padding: Literal["same", "even"] = "even",
        pool_padding: Literal["same", "even"] = "even",
        zero_last_scale: bool = False,
        norm: Mapping[str, float | bool] | None = None,
        rematerialise: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.depth, self.width, self.padding, self.pool_padding = depth, width, padding, pool_padding
        self.zero_last_scale, self.norm, self.rematerialise = zero_last_scale, norm, rematerialise
        options = {"padding": padding, "norm": norm, "dtype": self.dtype_policy}
        counts, bottleneck = _BLOCKS[depth]
        inputs = layers.scaled(64, width)
        self.stem = ConvNorm(inputs, (7, 7), 2, name="stem", **options)
        self.groups = []
        for group, count in enumerate(counts):
            channels, blocks = layers.scaled(64 * 2**group, width), []
            for block in range(count):
                stride, name = 2 if group and not block else 1, f"group_{group}_block_{block}"
                made = Block(inputs, channels, stride, bottleneck, zero_last_scale, name=name, **options)
                blocks.append(made)
                inputs = made.convs[-1].conv.channels
            self.groups.append(blocks)
        self.output_dim = inputs

    for_images = False
    has_last_conv = True  # among its end points

    def get_config(self):
        names = ("depth", "width", "padding", "pool_padding", "zero_last_scale", "norm", "rematerialise")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        self.channels = 3 if input_shape is None else input_shape[-1]
        self.for_images = input_shape is not None and len(input_shape) == 4
        shape = (None, None, None, self.channels)
        layers.build_in_turn((self.stem, *(block for blocks in self.groups for block in blocks)), shape)

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'stem', 'group_0' ... 'group_3': maps [B,H',W',C] or [B*T,H',W',C], 'last_conv': the last of them,
        'embedding': [B, output_dim]}."""
        if not self.built:
            self.build(x.shape)
        # The weights do not say whether an image comes alone or in a clip, and both may come.
        if len(x.shape) not in (4, 5) or x.shape[-1] != self.channels or (len(x.shape) == 5 and self.channels != 3):
            takes = "images [B,H,W,3] or clips [B,T,H,W,3]" if self.channels == 3 else "log-mel [B,T,M,1]"
            raise ValueError(f"ResNetV1 takes {takes}, not {tuple(x.shape)}.")
        batch, ends = ops.shape(x)[0], {}
        x = self.stem(ops.reshape(ops.cast(x, self.compute_dtype), (-1, *ops.shape(x)[-3:])), training=training)
        x = ends["stem"] = layers.max_pool(x, (1, 3, 3), (1, 2, 2), self.pool_padding)
        x, of_groups = layers.run_groups(self.groups, x, self.rematerialise, training)
        ends |= of_groups
        # All frames have the same size, so one mean does for the two.
        return {**ends, "last_conv": x, "embedding": layers.mean(ops.reshape(x, (batch, -1, x.shape[-1])), 1)}


class Block(layers.Residual):
    """Convolutions, added to the input or its projection, then ReLU; the last of them has no ReLU of its own.

    Bottleneck: 1x1 to `channels`, 3x3 with the stride, 1x1 to four times as many. Basic: two 3x3, the stride on the
    first.
    """

    def __init__(self, inputs, channels, stride, bottleneck, zero_last_scale, padding="same", norm=None, **kwargs):
        super().__init__(**kwargs)
        options = {"padding": padding, "norm": norm, "dtype": self.dtype_policy}
        outputs = 4 * channels if bottleneck else channels
        if bottleneck:
            self.convs = [
                ConvNorm(channels, (1, 1), name="conv_0", **options),
                ConvNorm(channels, (3, 3), stride, name="conv_1", **options),
                ConvNorm(outputs, (1, 1), relu=False, name="conv_2", **options),
            ]
        else:
            self.convs = [
                ConvNorm(channels, (3, 3), stride, name="conv_0", **options),
                ConvNorm(channels, (3, 3), relu=False, name="conv_1", **options),
            ]
        if zero_last_scale:
            self.convs[-1].norm.scale_initializer = "zeros"
        if stride != 1 or inputs != outputs:
            self.shortcut = ConvNorm(outputs, (1, 1), stride, relu=False, name="shortcut", **options)
