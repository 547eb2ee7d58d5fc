"""Residual networks over time, post-activation: MC3, R3D, R(2+1)D, and the slow R3D-50 of CVRL."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import keras
from keras import ops

from mmv_tf.backbones import layers
from mmv_tf.backbones.layers import ConvNorm
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive

Convolution = Literal["2+1", "3", "mixed", "slow"]
# depth: (blocks a group, whether the blocks are bottlenecks)
_BLOCKS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}


@configurable
class VideoResNet(keras.layers.Layer):
    """Clips [B,T,H,W,3] -> [B,512] (2048 for depth 50), the mean of the last map over time and space.

    | network | settings | parameters |
    |---|---|---|
    | R(2+1)D-18 of torchvision and GDT | the defaults | 31,300,125 |
    | R(2+1)D-18 of XDC, and Caffe2's | between='own', norm={'epsilon': 1e-3, ...} | 33,165,639 |
    | R(2+1)D-50 of the tables | depth=50, between='own' | 46,165,457 |
    | R3D-18, MC3-18 of torchvision | convolution='3', 'mixed' | 33,166,272, 11,490,240 |
    | R3D-50 of CVRL | depth=50, convolution='slow', padding='same' | 31,672,128 |

    Tran et al. 2018 (A Closer Look at Spatiotemporal Convolutions for Action Recognition), in the variants of
    torchvision 0.28 (models/video/resnet.py), of HumamAlwassel/XDC (model/r2plus1d_18.py) and, 'slow', of
    tensorflow/models (official/projects/video_ssl), each of which it equals with its weights. There is no classifier:
    docs/networks.md explains where a table counts one.

    Args:
      depth: 18 and 34 have basic blocks of two convolutions, 50 bottlenecks around one.
      convolution: what a convolution with an extent of three is made of.
        '2+1': 1x3x3, batch norm, ReLU, 3x1x1; the stem a 1x7x7 with 45 channels and a 3x1x1.
        '3': 3x3x3; the stem 3x7x7.
        'mixed': 3x3x3 in the first group, 1x3x3 in the others, so that time is never reduced; the stem 3x7x7.
        'slow' (depth 50): 1x3x3, and in the last two groups 3x1x1 in the place of the first 1x1x1. Time is reduced by
        two in the stem, 5x7x7, alone; a 1x3x3 max pool follows it.
      between: the channels between the halves of '2+1' are `factored_channels` of the two ends of each convolution
        ('own'; Tran et al., section 3.5) or, for both convolutions of a basic block, of the first of them ('block').
      width: multiplies the channels (to multiples of 8).
      padding: see `layers.Padding`; PyTorch's weights need 'even', CVRL's 'same'.
      norm: settings of `BatchNorm`, such as {'epsilon': 1e-3}, for this network's alone.
      rematerialise: see `TSMResNet`.

    Raises:
      ValueError: 'slow' with another depth than 50, or an unknown setting of `BatchNorm`.
    """

    def __init__(
        self,
        depth: Literal[18, 34, 50] = 18,
        convolution: Convolution = "2+1",
        between: Literal["block", "own"] = "block",
        width: Positive = 1.0,
        padding: Literal["same", "even"] = "even",
        norm: Mapping[str, float | bool] | None = None,
        rematerialise: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.depth, self.convolution, self.between, self.width = depth, convolution, between, width
        self.padding, self.norm, self.rematerialise = padding, norm, rematerialise
        counts, bottleneck = _BLOCKS[depth]
        if convolution == "slow" and not bottleneck:
            raise ValueError(f"VideoResNet.convolution = 'slow' has bottlenecks: depth must be 50, not {depth}.")
        options = {"padding": padding, "norm": norm, "dtype": self.dtype_policy}
        inputs = layers.scaled(64, width)
        between_in_stem = layers.scaled(45, width) if width != 1 else 45
        stem = {
            "2+1": [Part("stem_0", between_in_stem, (1, 7, 7), (1, 2, 2)), Part("stem_1", inputs, (3, 1, 1))],
            "slow": [Part("stem_0", inputs, (5, 7, 7), (2, 2, 2))],
        }.get(convolution, [Part("stem_0", inputs, (3, 7, 7), (1, 2, 2))])
        self.stem = [part.layer(**options) for part in stem]
        self.groups = []
        for group, (count, kind) in enumerate(zip(counts, _KINDS[convolution], strict=True)):
            channels, blocks = layers.scaled(64 * 2**group, width), []
            for block in range(count):
                stride = 2 if group and not block else 1
                parts = kind.bottleneck if bottleneck else kind.basic
                convs = parts(inputs, channels, stride, between)
                blocks.append(Block(inputs, convs, name=f"group_{group}_block_{block}", **options))
                inputs = convs[-1].channels
            self.groups.append(blocks)
        self.output_dim = inputs

    for_images = False

    def get_config(self):
        names = ("depth", "convolution", "between", "width", "padding", "norm", "rematerialise")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        shape = layers.unknown_sizes(input_shape, 3)
        self.for_images = len(shape) == 4
        layers.build_in_turn((*self.stem, *(block for blocks in self.groups for block in blocks)), shape)

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'stem', 'group_0' ... 'group_3': maps [B,T',H',W',C], 'embedding': [B, output_dim]}."""
        layers.check_input(self, x)
        ends = {}
        x = ops.cast(x, self.compute_dtype)
        for conv in self.stem:
            x = layers.run(conv, x, self.rematerialise, training=training)
        if self.convolution == "slow":
            x = layers.max_pool(x, (1, 3, 3), (1, 2, 2), self.padding)
        ends["stem"] = x
        x, of_groups = layers.run_groups(self.groups, x, self.rematerialise, training)
        ends |= of_groups
        return {**ends, "embedding": layers.over_map(x)}


@configurable
class R2Plus1D(VideoResNet):
    """R(2+1)D as this library had it first: clips [B,T,H,W,3] in [0,1] -> [B,512], 2048 for depth 50.

    It is `VideoResNet(depth, between="own", padding="same")`, and stays for the workdirs, exports and gin files that
    name it. No published weights have this padding.

    Parameters of R(2+1)D-18: 33,165,639, of which 33,139,479 are weights of convolutions. The 33.3 million in the table
    of MMV are those with a classifier of 400 classes (33,344,679).

    Args:
      depth: 18, 34 or 50.
      width: multiplies the channels (to multiples of 8).
      rematerialise: see `TSMResNet`.
    """

    def __init__(self, depth: Literal[18, 34, 50] = 18, width: Positive = 1.0, rematerialise: bool = False, **kwargs):
        super().__init__(depth, "2+1", "own", width, "same", None, rematerialise, **kwargs)

    def get_config(self):
        fixed = ("convolution", "between", "padding", "norm")
        return {name: value for name, value in super().get_config().items() if name not in fixed}


def factored_channels(inputs: int, outputs: int) -> int:
    """Channels between (1,3,3) and (3,1,1), with which the pair has as many weights as one (3,3,3) convolution."""
    return (27 * inputs * outputs) // (9 * inputs + 3 * outputs)


class Part(NamedTuple):
    """One convolution with its batch norm, before it is made."""

    name: str
    channels: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int] = (1, 1, 1)

    def layer(self, **options) -> ConvNorm:
        return ConvNorm(self.channels, self.kernel, self.strides, name=self.name, **options)


class Kind(NamedTuple):
    """The convolutions of the blocks of one group.

    Attributes:
      factored: whether they are pairs of a (1,3,3) and a (3,1,1).
      time: extent in time of a full convolution; with 1, there is no stride in time either.
      first: extent in time of the first convolution of a bottleneck.
    """

    factored: bool = False
    time: int = 3
    first: int = 1

    def basic(self, inputs: int, channels: int, stride: int, between: str) -> list[Part]:
        """Two convolutions, the first with the stride."""
        second = (inputs if between == "block" else channels, channels)
        return [
            *self.convolution("conv_0", channels, stride, (inputs, channels)),
            *self.convolution("conv_1", channels, 1, second),
        ]

    def bottleneck(self, inputs: int, channels: int, stride: int, between: str) -> list[Part]:
        """To `channels`, a convolution with the stride, and to four times as many."""
        ends = (inputs if between == "block" else channels, channels)
        return [
            Part("conv_0", channels, (self.first, 1, 1)),
            *self.convolution("conv_1", channels, stride, ends),
            Part("conv_2", 4 * channels, (1, 1, 1)),
        ]

    def convolution(self, name: str, channels: int, stride: int, ends: tuple[int, int]) -> list[Part]:
        """One convolution with a stride; where it is factored, `factored_channels` of `ends` stand between."""
        if self.factored:
            space = Part(f"{name}_space", factored_channels(*ends), (1, 3, 3), (1, stride, stride))
            return [space, Part(f"{name}_time", channels, (3, 1, 1), (stride, 1, 1))]
        return [Part(name, channels, (self.time, 3, 3), (stride if self.time > 1 else 1, stride, stride))]


_KINDS: dict[str, tuple[Kind, ...]] = {
    "2+1": (Kind(factored=True),) * 4,
    "3": (Kind(),) * 4,
    "mixed": (Kind(), *(Kind(time=1),) * 3),
    "slow": (*(Kind(time=1),) * 2, *(Kind(time=1, first=3),) * 2),
}


class Block(layers.Residual):
    """Convolutions, added to the input or its projection, then ReLU; the last of them has no ReLU of its own.

    The projection, where strides or channels call for one, is a 1x1x1 convolution with the product of the strides.
    """

    def __init__(self, inputs: int, parts: Sequence[Part], padding="same", norm=None, **kwargs):
        super().__init__(**kwargs)
        options = {"padding": padding, "norm": norm, "dtype": self.dtype_policy}
        *firsts, last = parts
        self.convs = [*(part.layer(**options) for part in firsts), last.layer(relu=False, **options)]
        strides = tuple(math.prod(extents) for extents in zip(*(part.strides for part in parts), strict=True))
        if strides != (1, 1, 1) or inputs != last.channels:
            self.shortcut = ConvNorm(last.channels, (1, 1, 1), strides, relu=False, name="shortcut", **options)
