"""Colour augmentation of MMV (DMVR, VATT) as one matrix for all frames of a clip, in place of steps in HSV space."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_RGB_TO_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ).astype(np.float32)


def changes(probability: float, ranges, jit_compile: bool) -> tuple[Callable, Callable]:
    """Two functions that change colours; arguments as in `found`.

    Returns:
      of a clip: [T, H, W, 3] float32 in [0, 255], draws [5] -> [T, H, W, 3] uint8.
      of a batch of clips: [B, T, H, W, 3], draws [B, 5] -> [B, T, H, W, 3] uint8.
    """

    def look(frames, draw):
        return found(frames, draw, probability, ranges)

    # Compiled by themselves: XLA reads what is an input of its loop once, and the matrix that it has computed beside
    # the loop again for every pixel, which takes three times as long.
    find, apply = (tf.function(one, jit_compile=jit_compile, autograph=False) for one in (look, applied))

    def of_batch(frames, draws):
        def change(clip):
            return applied(clip[0], *look(*clip))

        return tf.vectorized_map(change, (frames, draws), fallback_to_while_loop=False)

    def of_clip(frames, draw):
        return apply(frames, *find(frames, draw))

    return of_clip, tf.function(of_batch, jit_compile=jit_compile, autograph=False)


def found(frames: tf.Tensor, draw: tf.Tensor, probability: float, ranges) -> tuple[tf.Tensor, tf.Tensor]:
    """What is done to the colours of a clip: a matrix [3, 3] and an offset [3], float32.

    Brightness, contrast, saturation and hue are all linear here, so they are one matrix, and their order does not
    matter. The reference turns hue and saturation in HSV space, frame by frame, which takes longer than decoding; here
    they act on the chroma of YIQ. Contrast is about the mean of some pixels of the clip, not of each frame.

    Args:
      frames: [T, H, W, 3] float32 in [0, 255].
      draw: [5] float32 in [0, 1): whether, and each of the four.
      probability: of a change.
      ranges: greatest change of brightness, as a part of the full range, of the factors of saturation and contrast, and
        of the turn of the hue in full circles.
    """
    symmetric = 2.0 * draw - 1.0
    on = tf.cast(draw[0] < probability, tf.float32)
    most_brightness, most_saturation, most_contrast, most_hue = ranges
    brightness = on * most_brightness * symmetric[1]
    saturation = 1.0 + on * most_saturation * symmetric[2]
    contrast = 1.0 + on * most_contrast * symmetric[3]
    angle = on * most_hue * symmetric[4] * (2 * np.pi)
    c, s = saturation * tf.cos(angle), saturation * tf.sin(angle)
    chroma = tf.reshape(tf.stack([1.0, 0.0, 0.0, 0.0, c, -s, 0.0, s, c]), [3, 3])
    matrix = tf.matmul(_YIQ_TO_RGB, tf.matmul(chroma, _RGB_TO_YIQ))
    mean = tf.reduce_mean(frames[::4, ::8, ::16], axis=[0, 1, 2])
    offset = (1.0 - contrast) * tf.linalg.matvec(matrix, mean) + 255.0 * brightness
    return matrix * contrast, offset


def applied(frames: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Frames [T, H, W, 3] float32 in [0, 255] -> [T, H, W, 3] uint8; the others as from `found`."""
    # Written out by channel, which XLA turns into one vector loop.
    red, green, blue = tf.unstack(frames, axis=-1)
    channels = [matrix[i, 0] * red + matrix[i, 1] * green + matrix[i, 2] * blue + offset[i] for i in range(3)]
    return tf.cast(tf.clip_by_value(tf.stack(channels, axis=-1), 0.0, 255.0) + 0.5, tf.uint8)
