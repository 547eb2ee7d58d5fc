"""TSM ResNet (Lin et al. 2019): an image network whose blocks look one frame ahead and back."""

from typing import Annotated

import keras
from keras import ops

from mmv_tf.backbones import layers, residual
from mmv_tf.backbones.batch_norm import BatchNorm
from mmv_tf.backbones.layers import Conv
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive, Range


@configurable
class TSMResNet(keras.layers.Layer):
    """ResNet V2 over frames with temporal shifts: clips [B,T,H,W,3] in [0,1] -> [B, 2048 * width].

    The released networks (deepmind-research/mmv, models/tsm_resnet.py) are depth 50 with width 1 and 2. Where they
    differ from the stock TSM: activations stand in front of the convolutions (V2), the stem has neither batch norm nor
    ReLU, and the two shifted groups of channels change places (see `temporal_shift`). Any number of frames will do.

    Args:
      depth: 10, 18, 34, 50, 101, 152 or 200.
      width: multiplies the channels (to multiples of 8).
      shift_fraction: share of the channels that is shifted each way.
      rematerialise: for the backward pass keep what goes from one block to the next and compute the rest again: about
        half of the activations' memory, for a quarter to a third more time.
    """

    def __init__(
        self,
        depth: residual.Depth = 50,
        width: Positive = 1.0,
        shift_fraction: Annotated[float, Range(least=0, most=0.5)] = 0.125,
        rematerialise: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.depth, self.width, self.shift_fraction, self.rematerialise = depth, width, shift_fraction, rematerialise

        def shift(x, frames):
            return temporal_shift(x, frames, int(x.shape[-1] * shift_fraction))

        self.stem = Conv(layers.scaled(64, width), (7, 7), 2, name="stem", dtype=self.dtype_policy)
        self.groups = residual.groups(depth, width, shift, dtype=self.dtype_policy)
        self.norm = BatchNorm(name="norm", dtype=self.dtype_policy)
        self.output_dim = self.groups[-1][-1].last.channels

    for_images = False

    def get_config(self):
        names = ("depth", "width", "shift_fraction", "rematerialise")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        self.for_images = len(layers.unknown_sizes(input_shape, 3)) == 4
        residual.build(self.stem, self.groups, self.norm, channels=3)

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'stem', 'group_0' ... 'group_3', 'last_conv': maps [B*T,H',W',C], 'embedding': [B, output_dim]}.

        'last_conv' is the map after the last batch norm and ReLU (in `AudioResNet` it is the one before, as released).
        """
        layers.check_input(self, x)
        batch, frames = ops.shape(x)[0], None if self.for_images else ops.shape(x)[1]
        ends = {}
        x = self.stem(ops.reshape(ops.cast(x, self.compute_dtype), (-1, *ops.shape(x)[-3:])))
        x = ends["stem"] = ops.max_pool(x, 3, 2, padding="same")
        x, of_groups = layers.run_groups(self.groups, x, self.rematerialise, training, frames=frames)
        ends |= of_groups
        x = ends["last_conv"] = ops.relu(self.norm(x, training=training))
        x = ops.reshape(x, (batch, -1, x.shape[-1]))  # all frames have the same size, so one mean does for the two
        return {**ends, "embedding": layers.mean(x, 1)}


def temporal_shift(x, frames, count: int):
    """Moves `count` channels one frame back and `count` one frame on.

    As released: output channels are the *last* `count` channels of the next frame, then the middle ones unmoved, then
    the *first* `count` channels of the frame before. So the two groups change places, which the stock TSM does not do;
    weights trained with this order need it. Zeros come in at both ends of a clip. An image has no frames beside it, and
    the groups only change places: what remains of the shift where all frames are alike.

    On a CPU it costs 1.4 to 2.2 copies of `x` forward, and as many backward: splitting and joining are a pass over
    memory each. In the whole network of 50 layers that is 6 % of a forward pass and 3 % of a training step (a copy in
    its place: 3 % and 2.5 %; two clips of 16 x 200 x 200, two cores). A depthwise convolution over time takes 1.2 to
    1.5 copies, but needs the kernel that follows to be rearranged, and in the network its gain was not beyond the
    noise. All else that was tried is slower with its gradient (docs/benchmarks.md, benchmarks/temporal_shift.py).

    Args:
      x: [B*T,H,W,C], clip by clip.
      frames: T; None: `x` are images.
      count: at most C/2.
    """
    if not count:
        return x
    shape = ops.shape(x)
    # Whole groups of channels are split off and whole frames cut off: in TensorFlow the gradient of x[..., a:b] costs
    # thirty times that of these two.
    first, middle, last = ops.split(x, (count, x.shape[-1] - count), axis=-1)
    if frames is None:
        return ops.concatenate([last, middle, first], axis=-1)
    clips = (shape[0] // frames, frames, shape[1] * shape[2], count)
    fewer = (clips[0], frames - 1, *clips[2:])
    ahead = ops.slice(ops.reshape(last, clips), (0, 1, 0, 0), fewer)
    ahead = ops.pad(ahead, ((0, 0), (0, 1), (0, 0), (0, 0)))
    back = ops.slice(ops.reshape(first, clips), (0, 0, 0, 0), fewer)
    back = ops.pad(back, ((0, 0), (1, 0), (0, 0), (0, 0)))
    edges = (*shape[:3], count)
    return ops.concatenate([ops.reshape(ahead, edges), middle, ops.reshape(back, edges)], axis=-1)
