"""A plain convolutional network of sound, as VGG (Simonyan and Zisserman 2014): that of AVTS."""

from collections.abc import Mapping, Sequence

import keras
from keras import ops

from mmv_tf.backbones import layers
from mmv_tf.backbones.layers import ConvNorm
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, Positive


@configurable
class PlainCNN(keras.layers.Layer):
    """Log-mel [B,T',M,1] -> [B, units]: 3x3 convolutions, a 2x2 max pool behind each group of them, a dense layer.

    AVTS (Korbar et al. 2018) has "a VGG-like network" on 100 frames of 40 mel bands; its code was not published, and
    neither are its sizes. These are our defaults: groups of 64, 128, 256 + 256 and 512 + 512 channels, batch norm and
    ReLU behind each convolution, the mean of the last map, a dense layer of 512 with ReLU; 4,764,096 parameters. The
    128 numbers that AVTS compares are a head's.

    Args:
      channels: of the convolutions, group by group.
      units: of the dense layer; its output is the representation.
      width: multiplies the channels (to multiples of 8), and not `units`.
      norm: settings of `BatchNorm`, such as {'epsilon': 1e-3}, for this network's alone.
    """

    has_last_conv = True  # among its end points

    def __init__(
        self,
        channels: Sequence[Sequence[Count]] = ((64,), (128,), (256, 256), (512, 512)),
        units: Count = 512,
        width: Positive = 1.0,
        norm: Mapping[str, float | bool] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels, self.width, self.norm, self.output_dim = channels, width, norm, units
        options = {"norm": norm, "dtype": self.dtype_policy}
        self.groups = [
            [
                ConvNorm(layers.scaled(c, width), (3, 3), name=f"group_{i}_conv_{j}", **options)
                for j, c in enumerate(row)
            ]
            for i, row in enumerate(channels)
        ]
        initializer = layers.fan_in_normal()
        self.dense = keras.layers.Dense(
            units, "relu", kernel_initializer=initializer, name="dense", dtype=self.dtype_policy
        )

    def get_config(self):
        names = {"channels": self.channels, "units": self.output_dim, "width": self.width, "norm": self.norm}
        return {**super().get_config(), **names}

    def build(self, input_shape):
        shape = (None, None, None, 1)
        shape = layers.build_in_turn((conv for convs in self.groups for conv in convs), shape)
        self.dense.build((None, shape[-1]))

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'group_0' ...: maps [B,T',F,C] behind each pool, 'last_conv': the last of them, 'embedding': [B, units]}."""
        if len(x.shape) != 4 or x.shape[-1] != 1:
            raise ValueError(f"PlainCNN takes log-mel spectrograms [B,T,M,1], not {tuple(x.shape)}.")
        if not self.built:
            self.build(x.shape)
        ends, x = {}, ops.cast(x, self.compute_dtype)
        for i, convs in enumerate(self.groups):
            for conv in convs:
                x = conv(x, training=training)
            x = ends[f"group_{i}"] = layers.max_pool(x, (1, 2, 2), (1, 2, 2))
        return {**ends, "last_conv": x, "embedding": self.dense(layers.over_map(x))}
