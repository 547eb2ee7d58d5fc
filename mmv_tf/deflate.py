"""The image network of a trained MMV (paper section 3.3)."""

import keras

from mmv_tf.backbones.deflated import Inflated, deflate

VARIANTS = ("naive", "trained", "inflated")


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
      ValueError: no video network, an unknown variant, or nothing trained in `workdir`.
    """
    if variant not in (None, *VARIANTS):
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}.")
    video: keras.layers.Layer | None = model.backbones.get("video")
    if video is None:
        raise ValueError(f"There is nothing to deflate: the model has {', '.join(model.backbones)}, and no video.")
    if variant == "inflated":
        return Inflated(video, frames)
    return deflate(video)
