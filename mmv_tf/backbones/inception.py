"""The parts of the Inception networks over time: I3D has full 3-D convolutions, S3D-G separable ones and gates."""

from collections.abc import Mapping
from typing import Literal, get_args

import keras
from keras import ops

from mmv_tf.backbones import layers
from mmv_tf.backbones.layers import ConvNorm, scaled

# Channels of the branches of each Mixed block: 1x1x1; 1x1x1 -> 3x3x3; 1x1x1 -> 3x3x3; pool -> 1x1x1.
_MIXED = {
    "Mixed_3b": ((64,), (96, 128), (16, 32), (32,)),
    "Mixed_3c": ((128,), (128, 192), (32, 96), (64,)),
    "Mixed_4b": ((192,), (96, 208), (16, 48), (64,)),
    "Mixed_4c": ((160,), (112, 224), (24, 64), (64,)),
    "Mixed_4d": ((128,), (128, 256), (24, 64), (64,)),
    "Mixed_4e": ((112,), (144, 288), (32, 64), (64,)),
    "Mixed_4f": ((256,), (160, 320), (32, 128), (128,)),
    "Mixed_5b": ((256,), (160, 320), (32, 128), (128,)),
    "Mixed_5c": ((384,), (192, 384), (48, 128), (128,)),
}
# fmt: off
Endpoint = Literal[
    "Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3", "MaxPool_3a_3x3", "Mixed_3b", "Mixed_3c",
    "MaxPool_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f",
    "MaxPool_5a_2x2", "Mixed_5b", "Mixed_5c",
]
# fmt: on
ENDPOINTS = get_args(Endpoint)
_POOLS = {
    "MaxPool_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}


class Inception(keras.layers.Layer):
    """The stages that S3D and I3D have in common: clips [B,T,H,W,C] -> the mean of the last map [B, output_dim].

    Built for images, it takes [B,H,W,C].

    Args:
      width: multiplies the channels (to multiples of 8).
      final_endpoint: the last layer, one of `ENDPOINTS`.
      stem: (kernel, stride) of the first convolution.
      separable, gated: of the convolutions from Conv2d_2c_3x3 on.
      rematerialise, padding, norm: see `S3D`.
    """

    def __init__(
        self,
        width: float,
        final_endpoint: str,
        stem,
        separable: bool,
        gated: bool,
        rematerialise: bool,
        padding: str,
        norm: Mapping | None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.width, self.final_endpoint, self.rematerialise = width, final_endpoint, rematerialise
        self.padding, self.norm = padding, norm
        dtype = {"dtype": self.dtype_policy}  # parts compute in the dtype of the whole
        # Where there are no strides, paddings do not differ.
        options = {"separable": separable, "gated": gated, "norm": norm, **dtype}
        strided = {"separable": False, "gated": False, "padding": padding, "norm": norm, **dtype}
        self.stages = {}
        for name in ENDPOINTS[: ENDPOINTS.index(final_endpoint) + 1]:
            if name in _POOLS:
                kind = "same" if padding == "same" else "least"
                stage = MaxPool(*_POOLS[name], padding=kind, name=name, **dtype)
            elif name in _MIXED:
                stage = Mixed([[scaled(c, width) for c in branch] for branch in _MIXED[name]], **options, name=name)
            elif name == "Conv2d_1a_7x7":
                stage = Unit(scaled(64, width), *stem, **strided, name=name)
            elif name == "Conv2d_2b_1x1":
                stage = Unit(scaled(64, width), (1, 1, 1), gated=False, norm=norm, name=name, **dtype)
            else:
                stage = Unit(scaled(192, width), (3, 3, 3), **options, name=name)
            self.stages[name] = stage
            self.output_dim = getattr(stage, "channels", None) or self.output_dim

    for_images = False

    def prepare(self, x):
        """What happens to clips [B,T,H,W,3] or images before the first convolution; to [..., `prepared_channels`]."""
        return x

    @property
    def prepared_channels(self) -> int:
        return 3

    def get_config(self):
        names = ("width", "final_endpoint", "rematerialise", "padding", "norm")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        # Explicit here and in all parts: otherwise Keras traces every layer several times before the first call (6 s).
        self.for_images = len(layers.unknown_sizes(input_shape, 3)) == 4
        shape = layers.unknown_sizes(input_shape, self.prepared_channels)
        layers.build_in_turn(self.stages.values(), shape)

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{name: map [B,T',H',W',C]} of every layer up to `final_endpoint`, and 'embedding' [B, output_dim]."""
        layers.check_input(self, x)
        x = self.prepare(ops.cast(x, self.compute_dtype))
        ends = {}
        for name, stage in self.stages.items():
            again = self.rematerialise and name not in _POOLS
            x = ends[name] = layers.run(stage, x, again, training=training)
        return {**ends, "embedding": layers.over_map(x)}


class Unit(keras.layers.Layer):
    """One or two convolutions, each with batch norm and ReLU, then an optional gate (SUnit3D of the reference).

    A separable convolution is (1,k,k) then (t,1,1), both with the number of output channels.

    With `margin` batch statistics in training are of a map with one place more before each axis, which is then cut off.
    """

    margin = False

    def __init__(self, channels, kernel, strides=1, separable=True, gated=True, padding="same", norm=None, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        time, *space = kernel
        kernels = [(1, *space), (time, 1, 1)] if separable and tuple(space) != (1, 1) else [kernel]
        if len(kernels) == 2 and strides != 1:
            raise ValueError(f"A separable Unit has stride 1, not {strides}.")
        options = {"padding": padding, "norm": norm, "dtype": self.dtype_policy}
        self.convs = [ConvNorm(channels, k, strides, name=f"conv_{i}", **options) for i, k in enumerate(kernels)]
        self.gate = None
        if gated:
            options = {"kernel_initializer": layers.fan_in_normal(), "dtype": self.dtype_policy}
            self.gate = keras.layers.Dense(channels, "sigmoid", name="gate", **options)

    def build(self, input_shape):
        layers.build_in_turn(self.convs, input_shape)
        if self.gate is not None:
            self.gate.build((None, self.channels))

    def compute_output_shape(self, input_shape):
        return layers.shape_behind(self.convs, input_shape)

    def call(self, x, training=False):
        margin = self.margin and training
        if margin:
            x = ops.pad(x, [(0, 0), *[(1, 0)] * (len(x.shape) - 2), (0, 0)])
        for conv in self.convs:
            x = conv(x, training=training)
        if margin:
            x = x[(slice(None), *[slice(1, None)] * (len(x.shape) - 2))]
        if self.gate is not None:
            gate = self.gate(layers.over_map(x))
            x = x * ops.reshape(gate, (-1, *[1] * (len(x.shape) - 2), self.channels))
        return x


class Mixed(keras.layers.Layer):
    """Four branches side by side, concatenated; the gates are inside the branches."""

    def __init__(self, branches, separable=True, gated=True, norm=None, **kwargs):
        super().__init__(**kwargs)
        self.channels = sum(branch[-1] for branch in branches)
        names = (
            ("Branch_0_Conv2d_0a_1x1",),
            ("Branch_1_Conv2d_0a_1x1", "Branch_1_Conv2d_0b_3x3"),
            ("Branch_2_Conv2d_0a_1x1", "Branch_2_Conv2d_0b_3x3"),
            ("Branch_3_Conv2d_0b_1x1",),
        )
        self.branches = []
        for channels, branch in zip(branches, names, strict=True):
            units = []
            for i, (count, name) in enumerate(zip(channels, branch, strict=True)):
                kernel = (3, 3, 3) if name.endswith("3x3") else (1, 1, 1)
                last = i == len(branch) - 1
                options = {"separable": separable, "gated": gated and last, "norm": norm}
                units.append(Unit(count, kernel, **options, name=name, dtype=self.dtype_policy))
            self.branches.append(units)

    def build(self, input_shape):
        for units in self.branches:
            layers.build_in_turn(units, input_shape)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.channels)

    def call(self, x, training=False):
        outputs = []
        for i, units in enumerate(self.branches):
            y = layers.max_pool(x, (3, 3, 3), (1, 1, 1)) if i == 3 else x
            for unit in units:
                y = unit(y, training=training)
            outputs.append(y)
        return ops.concatenate(outputs, axis=-1)


class MaxPool(keras.layers.Layer):
    """Max pooling as a layer, so that all stages are called alike."""

    def __init__(self, window, strides, padding="same", **kwargs):
        super().__init__(**kwargs)
        self.window, self.strides, self.padding = window, strides, padding

    def build(self, input_shape):
        pass

    def compute_output_shape(self, input_shape):
        strides = self.strides[-(len(input_shape) - 2) :]
        sizes = [n and -(-n // s) for n, s in zip(input_shape[1:-1], strides, strict=True)]
        return (input_shape[0], *sizes, input_shape[-1])

    def call(self, x, training=False):
        return layers.max_pool(x, self.window, self.strides, self.padding)
