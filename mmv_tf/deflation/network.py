"""Deflation (MMV, section 3.3): the image network that a video network contains."""

import hashlib
import os

import keras
import numpy as np

from mmv_tf.backbones.batch_norm import SETTINGS, BatchNorm

FOLDER = "deflated"
WEIGHTS = "weights"
REPORT = "report.json"
VARIANTS = ("naive", "trained", "inflated")


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
        for setting in SETTINGS:
            setattr(ours, setting, getattr(theirs, setting))
    for ours, theirs in zip(twin.variables, network.variables, strict=True):
        weights = keras.ops.convert_to_numpy(theirs)
        if ours.shape != theirs.shape and len(ours.shape) == 4 and weights.ndim == 5:
            weights = _without_time(weights, ours.shape[2])
        if weights.shape != tuple(ours.shape):
            raise ValueError(
                f"{name} has no image form: {theirs.path} has the shape {tuple(theirs.shape)}, and {tuple(ours.shape)} "
                "in the same network for images. `mmv_tf export --no_image` leaves it out."
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


def image_network(model, workdir: str | None = None, variant: str | None = None, frames: int | None = None):
    """The image network of a model, with the weights that its video network has now.

    An image's embeddings are the video heads over its result: `model.embed_repr("video", image_network(images))`.

    Args:
      model: a built MMV with a backbone for video.
      workdir: of the run; where `python -m mmv_tf.deflate` leaves what it trains.
      variant: 'naive', without training; 'trained', with the scales and offsets of `workdir`; 'inflated', the video
        network on a clip of `frames` equal frames. None: 'trained' if `workdir` holds some, otherwise 'naive'.
      frames: of 'inflated'.
    Returns:
      A layer: images [B,H,W,3] float in [0,1] -> [B,D]; `endpoints(x)['embedding']` is the same.
    Raises:
      ValueError: no video network, an unknown variant, or nothing trained in `workdir`, or for other weights.
    """
    if variant not in (None, *VARIANTS):
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}.")
    video = model.backbones.get("video")
    if video is None:
        raise ValueError(f"There is nothing to deflate: the model has {', '.join(model.backbones)}, and no video.")
    if variant == "inflated":
        if frames is None:
            raise ValueError("variant 'inflated' needs frames: how often an image is repeated.")
        return Inflated(video, frames)
    network, trained = deflate(video), _newest_weights(workdir)
    if variant == "trained" and trained is None:
        raise ValueError(f"{workdir} holds no trained deflation: run python -m mmv_tf.deflate --workdir={workdir}.")
    if trained is not None and variant != "naive":
        _restore(network, video, trained, workdir)
    return network


def _newest_weights(workdir: str | None) -> str | None:
    from mmv_tf.training import checkpoint_files

    return checkpoint_files.newest(os.path.join(workdir, FOLDER, WEIGHTS)) if workdir else None


def weights_checkpoint(network, video, step: int):
    """What WORKDIR/deflated/weights holds: scales and offsets by stable names, and of which weights they are."""
    import tensorflow as tf

    from mmv_tf.deflation.training import trained_variables

    named = {name: variable.value for name, variable in trained_variables(network).items()}
    return tf.train.Checkpoint(image=named, video=tf.Variable(fingerprint(video)), step=tf.Variable(step))


def _restore(network, video, path: str, workdir: str) -> None:
    import tensorflow as tf

    from mmv_tf.training import workdir as workdirs

    made_for = tf.train.load_checkpoint(path).get_tensor("video/.ATTRIBUTES/VARIABLE_VALUE").decode()
    if made_for != fingerprint(video):
        step = int(tf.train.load_variable(path, "step/.ATTRIBUTES/VARIABLE_VALUE"))
        raise ValueError(
            f"{os.path.join(workdir, FOLDER)} was trained for other weights of the video network (step {step}): run "
            f"python -m mmv_tf.deflate --workdir={workdir} again, or remove that folder."
        )
    workdirs.restore(weights_checkpoint(network, video, 0), path)


def fingerprint(network) -> str:
    """Of all weights of a network."""
    digest = hashlib.sha256()
    for variable in network.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
