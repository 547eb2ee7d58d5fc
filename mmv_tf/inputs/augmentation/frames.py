"""Augmentation of frames as SimCLR and CVRL have it; every function changes all frames of a clip alike.

Where nothing else is said, frames are [T, H, W, 3] float32 in [0, 1]. (google-research/simclr, tf2/data_util.py;
tensorflow/models, official/projects/video_ssl/ops/video_ssl_preprocess_ops.py; arXiv 2002.05709 and 2008.03800.)
"""

import tensorflow as tf


def resized_window(size: tf.Tensor, seed: tf.Tensor, area, aspect) -> tf.Tensor:
    """A random window, to be resized: [top, left, height, width] float32, in pixels of a frame of `size` [2].

    Args:
      seed: [2] integer.
      area: least and greatest part of the frame.
      aspect: least and greatest width over height. Where 100 tries find no such window it is the whole frame.
    """
    size = tf.cast(size, tf.int32)
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([size, [3]], axis=0),
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        tf.cast(seed, tf.int64),
        min_object_covered=0.0,
        area_range=tuple(map(float, area)),
        aspect_ratio_range=tuple(map(float, aspect)),
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.cast(tf.concat([begin[:2], extent[:2]], axis=0), tf.float32)


def check_windows(owner: str, area, aspect) -> None:
    """That `resized_window` can draw by the settings crop_area and crop_aspect of a class `owner`.

    Raises:
      ValueError: names the setting.
    """
    for name, (least, most) in {"crop_area": area, "crop_aspect": aspect}.items():
        if least > most:
            raise ValueError(f"{owner}.{name} = {(least, most)}: the second number must be above the first.")
    if not area[0]:
        raise ValueError(f"{owner}.crop_area = {tuple(area)}: the first number must be above 0.")


def jitter(frames: tf.Tensor, draw: tf.Tensor, order: tf.Tensor, ranges) -> tf.Tensor:
    """Brightness, contrast, saturation and hue one after the other, clipped to [0, 1] after each.

    Args:
      draw: [4] float32 in [0, 1), of each of the four.
      order: [4] int32, a permutation of 0 to 3.
      ranges: greatest change of the factor of brightness, contrast and saturation, and of the turn of the hue in full
        circles. All frames have one mean for the contrast.
    """
    symmetric = 2.0 * draw - 1.0
    rows = tf.reshape(frames, [-1, *frames.shape[2:]])  # as one picture
    brightness, contrast, saturation, hue = ranges

    def factor(number, most):
        return tf.maximum(1.0 + most * symmetric[number], 0.0)

    steps = [
        lambda: rows * factor(0, brightness),
        lambda: tf.image.adjust_contrast(rows, factor(1, contrast)),
        lambda: tf.image.adjust_saturation(rows, factor(2, saturation)),
        lambda: tf.image.adjust_hue(rows, hue * symmetric[3]),
    ]
    for place in range(4):
        rows = tf.clip_by_value(tf.switch_case(order[place], steps), 0.0, 1.0)
    return tf.reshape(rows, frames.shape)


def grey(frames: tf.Tensor) -> tf.Tensor:
    """The brightness in all three channels."""
    return tf.repeat(tf.image.rgb_to_grayscale(frames), 3, axis=-1)


def blur(frames: tf.Tensor, sigma: tf.Tensor, size: int) -> tf.Tensor:
    """A Gaussian of deviation `sigma` pixels over `size` pixels (one more where that is even), with 0 around frames."""
    radius = int(size) // 2
    x = tf.range(-radius, radius + 1, dtype=tf.float32)
    taps = tf.nn.softmax(-tf.square(x) / (2.0 * tf.square(sigma)))
    kernel = tf.tile(taps[:, None, None, None], [1, 1, 3, 1])
    for shape in ([1, 2 * radius + 1, 3, 1], [2 * radius + 1, 1, 3, 1]):
        frames = tf.nn.depthwise_conv2d(frames, tf.reshape(kernel, shape), [1, 1, 1, 1], "SAME")
    return frames


def solarise(frames: tf.Tensor) -> tf.Tensor:
    """What is bright becomes dark, from one half on."""
    return tf.where(frames < 0.5, frames, 1.0 - frames)


def flip(frames: tf.Tensor) -> tf.Tensor:
    """Left to right, [T, H, W, 3]. TensorFlow has a fast kernel for one image, and rows of all frames make one."""
    rows = tf.reshape(frames, [-1, frames.shape[2], 3])
    return tf.reshape(tf.reverse(rows, [1]), frames.shape)
