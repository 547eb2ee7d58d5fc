"""The audio network: a ResNet V2 over the log-mel spectrogram as an image of one channel."""

import keras
from keras import ops

from mmv_tf.backbones import layers, residual
from mmv_tf.backbones.batch_norm import BatchNorm
from mmv_tf.backbones.layers import Conv
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive


@configurable
class AudioResNet(keras.layers.Layer):
    """ResNet V2: log-mel [B,T',M,1] -> [B, 2048] (512 for depth 10, 18 and 34), the mean over time and frequency.

    Depth 50 is the released network (deepmind-research/mmv, models/resnet.py): a 7x7 stem without batch norm or ReLU,
    activations in front of the convolutions, the stride on the 3x3 convolution. Depths 10, 18 and 34 have the usual
    basic block of two 3x3 convolutions; that of the reference code has a 1x1 for the first, no released weights use it,
    and it is not the ResNet-18 of the literature.

    Args:
      depth: 10, 18, 34, 50, 101, 152 or 200.
      width: multiplies the channels (to multiples of 8).
      rematerialise: see `TSMResNet`.
    """

    has_last_conv = True  # among its end points

    def __init__(self, depth: residual.Depth = 50, width: Positive = 1.0, rematerialise: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.rematerialise = rematerialise
        self.stem = Conv(layers.scaled(64, width), (7, 7), 2, name="stem", dtype=self.dtype_policy)
        self.groups = residual.groups(depth, width, dtype=self.dtype_policy)
        self.norm = BatchNorm(name="norm", dtype=self.dtype_policy)
        self.output_dim = self.groups[-1][-1].last.channels

    def build(self, input_shape):
        residual.build(self.stem, self.groups, self.norm, channels=1)

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'stem', 'group_0' ... 'group_3', 'last_conv': maps [B,T,F,C], 'embedding': [B, output_dim]}.

        'last_conv' is the map before the last batch norm, as in the released network; it serves downstream audio
        tasks. It is the same tensor as 'group_3'.
        """
        if len(x.shape) != 4 or x.shape[-1] != 1:
            raise ValueError(f"AudioResNet takes log-mel spectrograms [B,T,M,1], not {tuple(x.shape)}.")
        if not self.built:
            self.build(x.shape)
        ends = {}
        x = self.stem(ops.cast(x, self.compute_dtype))
        x = ends["stem"] = ops.max_pool(x, 3, 2, padding="same")
        x, of_groups = layers.run_groups(self.groups, x, self.rematerialise, training)
        ends |= of_groups
        ends["last_conv"] = x
        x = ops.relu(self.norm(x, training=training))
        return {**ends, "embedding": layers.mean(x, (1, 2))}
