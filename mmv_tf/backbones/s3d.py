"""S3D-G (Xie et al. 2018), with the stems and the gates of the released MMV networks."""

import keras
from keras import ops

from mmv_tf.backbones import layers
from mmv_tf.backbones.layers import ConvNorm
from mmv_tf.configurable import configurable

# Channels of the branches of each Mixed block: 1x1x1; 1x1x1 -> 3x3x3; 1x1x1 -> 3x3x3; pool -> 1x1x1.
_MIXED = {
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}
ENDPOINTS = (
    *("Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3", "MaxPool_3a_3x3", "Mixed_3b", "Mixed_3c"),
    *("MaxPool_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"),
    *("MaxPool_5a_2x2", "Mixed_5b", "Mixed_5c"),
)
_POOLS = {
    "MaxPool_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}


@configurable
class S3D(keras.layers.Layer):
    """S3D-G: clips [B,T,H,W,3] in [0,1] -> [B,1024], the mean of the last map over time and space.

    Where the released networks (deepmind-research/mmv, models/s3d.py) and the stock S3D-G differ, this follows the
    released ones: batch norm and ReLU also between the two halves of a separable convolution, a gate on every branch
    of a Mixed block instead of one behind it, 3x3x3 also in the third branch, no dropout. Any size and any number of
    frames will do, odd ones included.

    Args:
      stem: 'space_to_depth', which the released weights have: each 2x2x2 box of pixels becomes 24 channels, then a
        2x4x4 convolution. 'rgb': a 7x7x7 convolution with stride 2.
      width: multiplies the channels (to multiples of 8); 0.25 is a network for a CPU.
      final_endpoint: the last layer, one of `ENDPOINTS`.
    """

    def __init__(self, stem="space_to_depth", width: float = 1.0, final_endpoint: str = "Mixed_5c", **kwargs):
        super().__init__(**kwargs)
        if stem not in ("space_to_depth", "rgb"):
            raise ValueError(f"S3D.stem must be 'space_to_depth' or 'rgb', not {stem!r}.")
        if final_endpoint not in ENDPOINTS:
            raise ValueError(f"S3D.final_endpoint must be one of {', '.join(ENDPOINTS)}, not {final_endpoint!r}.")
        if not width > 0:
            raise ValueError(f"S3D.width must be above 0, not {width}.")
        self.stem = stem

        def scaled(channels):
            return max(8, 8 * round(channels * width / 8))

        self.stages = {}
        for name in ENDPOINTS[: ENDPOINTS.index(final_endpoint) + 1]:
            if name in _POOLS:
                stage = MaxPool(*_POOLS[name], name=name)
            elif name in _MIXED:
                b0, b1, b2, b3 = _MIXED[name]
                stage = Mixed(scaled(b0), tuple(map(scaled, b1)), tuple(map(scaled, b2)), scaled(b3), name=name)
            elif name == "Conv2d_1a_7x7":
                kernel, strides = ((7, 7, 7), 2) if stem == "rgb" else ((2, 4, 4), 1)
                stage = Unit(scaled(64), kernel, strides, separable=False, gated=False, name=name)
            elif name == "Conv2d_2b_1x1":
                stage = Unit(scaled(64), (1, 1, 1), gated=False, name=name)
            else:
                stage = Unit(scaled(192), (3, 3, 3), name=name)
            self.stages[name] = stage
            self.output_dim = getattr(stage, "channels", None) or self.output_dim

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{name: map [B,T',H',W',C]} of every layer up to `final_endpoint`, and 'embedding' [B, output_dim]."""
        if len(x.shape) != 5 or x.shape[-1] != 3:
            raise ValueError(f"S3D takes clips [B,T,H,W,3], not {tuple(x.shape)}.")
        x = ops.cast(x, self.compute_dtype)
        if self.stem == "space_to_depth":
            x = layers.space_to_depth(x)
        ends = {}
        for name, stage in self.stages.items():
            x = ends[name] = stage(x, training=training)
        return {**ends, "embedding": layers.mean(x, (1, 2, 3))}


class Unit(keras.layers.Layer):
    """One or two convolutions, each with batch norm and ReLU, then an optional gate (SUnit3D of the reference).

    A separable convolution is (1,k,k) then (t,1,1), both with the number of output channels.
    """

    def __init__(self, channels, kernel, strides=1, separable=True, gated=True, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        time, *space = kernel
        kernels = [(1, *space), (time, 1, 1)] if separable and tuple(space) != (1, 1) else [kernel]
        if len(kernels) == 2 and strides != 1:
            raise ValueError(f"A separable Unit has stride 1, not {strides}.")
        self.convs = [ConvNorm(channels, k, strides, name=f"conv_{i}") for i, k in enumerate(kernels)]
        self.gate = (
            keras.layers.Dense(channels, "sigmoid", kernel_initializer=layers.fan_in_normal()) if gated else None
        )

    def call(self, x, training=False):
        for conv in self.convs:
            x = conv(x, training=training)
        if self.gate is not None:
            gate = self.gate(layers.mean(x, (1, 2, 3)))
            x = x * ops.reshape(gate, (-1, 1, 1, 1, self.channels))
        return x


class Mixed(keras.layers.Layer):
    """Four branches side by side, concatenated; the gates are inside the branches."""

    def __init__(self, branch_0: int, branch_1, branch_2, branch_3: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = branch_0 + branch_1[-1] + branch_2[-1] + branch_3
        one, three = (1, 1, 1), (3, 3, 3)
        self.branches = [
            [Unit(branch_0, one, name="Branch_0_Conv2d_0a_1x1")],
            [
                Unit(branch_1[0], one, gated=False, name="Branch_1_Conv2d_0a_1x1"),
                Unit(branch_1[1], three, name="Branch_1_Conv2d_0b_3x3"),
            ],
            [
                Unit(branch_2[0], one, gated=False, name="Branch_2_Conv2d_0a_1x1"),
                Unit(branch_2[1], three, name="Branch_2_Conv2d_0b_3x3"),
            ],
            [Unit(branch_3, one, name="Branch_3_Conv2d_0b_1x1")],
        ]

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

    def __init__(self, window, strides, **kwargs):
        super().__init__(**kwargs)
        self.window = window
        self.strides = strides

    def call(self, x, training=False):
        return layers.max_pool(x, self.window, self.strides)
