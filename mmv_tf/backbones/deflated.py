"""Deflation (MMV, section 3.3): the image network that a video network contains."""

import keras
import numpy as np

from mmv_tf.batch_norm import BatchNorm


def deflate(network: keras.layers.Layer) -> keras.layers.Layer:
    """A network of the same class for images [B,H,W,3] of any size -> [B,D], with the weights that `network` has now.

    A clip whose frames are all alike passes through a video network as an image would, away from the two ends of the
    clip: kernels act as their sums over time, and temporal pooling does nothing. So each kernel is summed over time;
    that of the space-to-depth stem also over the two frames of a box. The shift of a TSM network keeps the exchange of
    its two groups of channels. No layer has a time axis. Batch norms are copied.

    At the ends of a clip the zeros beyond it make a difference, which nothing here makes up for: `mmv_tf.deflate`
    trains new scales and offsets for it.

    Multiply-adds of a clip of T frames are those of the image times T exactly for a TSM network. In the others strides
    in time make the video network cheaper than T images, and extents of kernels in time dearer: S3D .62 T (.69 T with
    the RGB stem), I3D 1.13 T, R(2+1)D .61 T (T from 8 to 32, 200 x 200 pixels).

    Args:
      network: a built video network: one of this package, or any whose class can be made again from `get_config()` and
        works on images when it is called with some, with the same variables but for the time axis of kernels.
    Raises:
      ValueError: it is not built, or has no image form; names the variable.
    """
    name = type(network).__name__
    if not network.built:
        raise ValueError(f"{name} has no weights yet: call or build it before it is deflated.")
    twin = type(network).from_config({**network.get_config(), "name": f"{network.name}_image"})
    twin(np.zeros((1, 32, 32, 3), np.float32))
    for ours, theirs in zip(_batch_norms(twin), _batch_norms(network), strict=True):
        # gin may have set them for the scope in which the video network was made.
        ours.decay, ours.epsilon = theirs.decay, theirs.epsilon
    for ours, theirs in zip(twin.variables, network.variables, strict=True):
        weights = keras.ops.convert_to_numpy(theirs)
        if ours.shape != theirs.shape and len(ours.shape) == 4 and weights.ndim == 5:
            weights = _without_time(weights, ours.shape[2])
        if weights.shape != tuple(ours.shape):
            raise ValueError(
                f"{name} has no image form: {theirs.path} has the shape {tuple(theirs.shape)}, and {tuple(ours.shape)} "
                "in the same network for images."
            )
        ours.assign(weights)
    return twin


def _batch_norms(network):
    return [layer for layer in network._flatten_layers() if isinstance(layer, BatchNorm)]


def _without_time(kernel: np.ndarray, channels: int) -> np.ndarray:
    """[t,h,w,C_in,C_out] -> [h,w,channels,C_out]: summed over time, and over frames that stand in channels."""
    kernel = kernel.astype(np.float64).sum(0)
    height, width, inputs, outputs = kernel.shape
    return kernel.reshape(height, width, inputs // channels, channels, outputs).sum(2)


class Inflated(keras.layers.Layer):
    """Images [B,H,W,3] through a video network, each as a clip of `frames` equal frames: what deflation aims at."""

    def __init__(self, network: keras.layers.Layer, frames: int, **kwargs):
        super().__init__(**kwargs)
        if frames < 1:
            raise ValueError(f"Inflated.frames must be at least 1, not {frames}.")
        self.network, self.frames = network, frames
        self.output_dim = getattr(network, "output_dim", None)

    def build(self, input_shape):
        pass

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'embedding': [B,D]}."""
        clips = keras.ops.repeat(x[:, None], self.frames, axis=1)
        return {"embedding": self.network(clips, training=training)}
