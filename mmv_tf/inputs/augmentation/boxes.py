"""Boxes: parts of stored frames, cut by the host and all of one shape, which an accelerator resizes.

A box [h, w, 3] uint8 holds the window of a clip somewhere in a frame, and what is around it; its place says where. The
frames of a clip stay apart: to stack them is to copy them, and accelerators copy faster.
`resized` gives what `tf.image.resize` makes of the window alone, to float rounding.
"""

from collections.abc import Sequence

import tensorflow as tf

# With a crop to columns libjpeg gives other colours in its first and last one: they may not belong to the window.
_MARGIN = (0, 2)


def whole_pixels(window: tf.Tensor, size: tf.Tensor, decoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels of a window [top, left, height, width], which is in stored pixels of frames of a `size` [2] int32.

    Returns:
      begin [2], extent [2] int32, in pixels of frames as they are `decoded` [2] int32, and inside.
    """
    scale = tf.cast(decoded, tf.float32) / tf.cast(size, tf.float32)
    extent = tf.clip_by_value(tf.cast(tf.round(window[2:] * scale), tf.int32), 1, decoded)
    begin = tf.clip_by_value(tf.cast(tf.round(window[:2] * scale), tf.int32), 0, decoded - extent)
    return begin, extent


def room(extent: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """How large a box must be, [2] int32, for a window of `extent` in frames of `size`, [2] int32 each."""
    return tf.minimum(extent + tf.constant(_MARGIN), size)


def fits(extent: tf.Tensor, size: tf.Tensor, box: tuple[int, int]) -> tf.Tensor:
    """Whether a window fits into a box, scalar bool; arguments as in `room`."""
    return tf.reduce_all(room(extent, size) <= tf.constant(box))


def cut(begin: tf.Tensor, extent: tf.Tensor, size: tf.Tensor, box: tuple[int, int]) -> tf.Tensor:
    """The part of a frame that goes into the box, with the window in its middle if it can be.

    Args:
      begin, extent: [2] int32, of the window.
      size: [2] int32, of the frame.
    Returns:
      [top, left, height, width] int32; as large as the box, or as the frame where that is smaller.
    """
    part = tf.minimum(tf.constant(box), size)
    first = tf.clip_by_value(begin + (extent - part) // 2, 0, size - part)
    return tf.concat([first, part], axis=0)


def padded(frames: Sequence[tf.Tensor], box: tuple[int, int]) -> tuple[tf.Tensor, ...]:
    """Frames [h, w, 3], h and w at most those of the box -> [*box, 3], with zeros below and to the right."""
    height, width = (tf.shape(frames[0])[axis] for axis in range(2))

    def fill():  # by concatenation, which copies whole rows; tf.pad goes number by number
        right = tf.zeros([height, box[1] - width, 3], frames[0].dtype)
        below = tf.zeros([box[0] - height, box[1], 3], frames[0].dtype)
        return tuple(tf.concat([tf.concat([frame, right], axis=1), below], axis=0) for frame in frames)

    is_full = (height == box[0]) & (width == box[1])
    found = tf.cond(is_full, lambda: tuple(frames), fill)
    return tuple(tf.ensure_shape(frame, [*box, 3]) for frame in found)


def place(begin: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """Where the window lies in a box, for `resized`: [2, 2] float32, begin and extent, of rows and of columns.

    Args:
      begin, extent: [2] int32, of the window in the box.
    """
    return tf.cast(tf.stack([begin, extent]), tf.float32)


def resized(frames: Sequence[tf.Tensor], places: tf.Tensor, side: int) -> tf.Tensor:
    """The windows of a batch of boxes, bilinear as `tf.image.resize`: [B, T, side, side, 3] float32 in [0, 255].

    By two products of matrices, which accelerators are made for. These multiply numbers of 8 bits (TPU) or 11 (TF32):
    all factors are split into parts that are exact in 8 bits or small, so that what is lost is below 0.01.

    Args:
      frames: T times [B, h, w, 3] uint8.
      places: [B, 2, 2] float32, from `place`.
    """
    batch, height, width, _ = frames[0].shape
    batch, count = tf.shape(frames[0])[0] if batch is None else batch, len(frames)
    down = _split(_weights(places[..., 0], side, height), 128.0)  # [B, side, h]
    across = _split(tf.transpose(_weights(places[..., 1], side, width), [0, 2, 1]), 128.0)  # [B, w, side]
    # Rows first, then columns; the other axes stand side by side, so that each clip is one product.
    # Not tf.stack: on a GPU it knows no uint8.
    pixels = tf.transpose(tf.concat([frame[:, :, None] for frame in frames], axis=2), [0, 1, 2, 4, 3])
    pixels = tf.reshape(pixels, [batch, height, count * 3 * width])
    rows = _product(down, [tf.cast(pixels, tf.float32)])
    rows = _split(tf.reshape(rows, [batch, side * count * 3, width]), 1.0)
    found = tf.reshape(_product(rows, across), [batch, side, count, 3, side])
    return tf.transpose(found, [0, 2, 1, 4, 3])


def _weights(places, side, size):
    """Places along one axis [B, 2] -> [B, side, size] float32: what each pixel of a box adds to each of the result."""
    begin, extent = places[:, :1, None], places[:, 1:, None]
    wanted = (tf.range(side, dtype=tf.float32)[:, None] + 0.5) * (extent / float(side)) - 0.5
    pixels = tf.range(size, dtype=tf.float32) - begin
    return tf.nn.relu(1.0 - tf.abs(tf.clip_by_value(wanted, 0.0, extent - 1.0) - pixels))


def _split(values, parts):
    """Whole multiples of 1 / parts, and the rest."""
    coarse = tf.floor(values * parts) / parts
    return [coarse, values - coarse]


def _product(left, right):
    return tf.add_n([tf.matmul(a, b) for a in left for b in right])
