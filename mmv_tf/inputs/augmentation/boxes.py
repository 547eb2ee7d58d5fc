"""Boxes: parts of stored frames, cut by the host and all of one shape, which an accelerator resizes.

A box [h, w, 3] uint8 holds the window of a clip somewhere in a frame, and what is around it; its place says where. The
frames of a clip stay apart: to stack them is to copy them, and accelerators copy faster.
`resized` gives what `tf.image.resize` makes of the window alone, to float rounding.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

# With a crop to columns libjpeg gives other colours in its first and last one: they may not belong to the window.
_EDGE = 1
# Where libjpeg can begin a row: it decodes blocks of so many columns (fewer in some files). A part of a frame that
# begins elsewhere goes row by row through a buffer of its own, which can take a quarter longer than decoding all of the
# frame: where that buffer happens to lie on a multiple of 32 bytes, it is written past the cache and read back.
_BLOCK = 16


def whole_pixels(window: tf.Tensor, size: tf.Tensor, decoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels of a window [top, left, height, width], which is in stored pixels of frames of a `size` [2] int32.

    Returns:
      begin [2], extent [2] int32, in pixels of frames as they are `decoded` [2] int32, and inside.
    """
    scale = tf.cast(decoded, tf.float32) / tf.cast(size, tf.float32)
    extent = tf.clip_by_value(tf.cast(tf.round(window[2:] * scale), tf.int32), 1, decoded)
    begin = tf.clip_by_value(tf.cast(tf.round(window[:2] * scale), tf.int32), 0, decoded - extent)
    return begin, extent


def one_size(jpegs: tf.Tensor, count: int) -> tf.Operation:
    """Checks that all of so many frames have the size of the first one, as far as a decoder cannot see it.

    Of a larger one only a part would be decoded.
    """
    sizes = tf.stack([tf.io.extract_jpeg_shape(jpeg) for jpeg in tf.unstack(jpegs, count)])[:, :2]
    return tf.debugging.Assert(tf.reduce_all(sizes == sizes[0]), ["frames of several sizes: ", sizes])


def room(extent: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """How large a box must be, [2] int32, for a window of `extent` in frames of `size`, [2] int32 each."""
    return tf.minimum(extent + tf.constant([0, 2 * _EDGE]), size)


def fits(extent: tf.Tensor, size: tf.Tensor, box: tuple[int, int]) -> tf.Tensor:
    """Whether a window fits into a box, scalar bool; arguments as in `room`."""
    return tf.reduce_all(room(extent, size) <= tf.constant(box))


def _aligned(column):
    """The last column, at most this one, at which decoding can begin."""
    return tf.maximum(column, 0) // _BLOCK * _BLOCK


def _columns(begin, extent, size):
    """Where decoding may begin at the latest, on a block, and end at the earliest for the columns of a window."""
    return _aligned(begin[1] - _EDGE), tf.minimum(begin[1] + extent[1] + _EDGE, size[1])


def windows(begin: tf.Tensor, extent: tf.Tensor, size: tf.Tensor, decode: Callable) -> tf.Tensor:
    """A window of the frames of a clip, [T, h, w, 3] uint8, of which not much more is decoded.

    Args:
      begin, extent: [2] int32, of the window.
      size: [2] int32, of the frames.
      decode: as in `fill`.
    """
    left, right = _columns(begin, extent, size)
    frames = decode(tf.stack([begin[0], left, extent[0], right - left]))
    # One by one, as long as they are in the cache.
    return tf.stack([tf.slice(frame, [0, begin[1] - left, 0], [-1, extent[1], 3]) for frame in frames])


def cut(begin: tf.Tensor, extent: tf.Tensor, size: tf.Tensor, box: tuple[int, int]) -> tf.Tensor:
    """The part of a frame that goes into the box, from a column on at which decoding can begin if the window allows it.

    Args:
      begin, extent: [2] int32, of the window.
      size: [2] int32, of the frame.
    Returns:
      [top, left, height, width] int32; as large as the box, or as the frame where that is smaller.
    """
    part = tf.minimum(tf.constant(box), size)
    first = tf.clip_by_value(begin + (extent - part) // 2, 0, size - part)
    left, right = _columns(begin, extent, size)
    left = tf.minimum(left, _aligned(size[1] - part[1]))
    return tf.concat([first[:1], tf.where(left + part[1] >= right, left, first[1])[None], part], axis=0)


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
    """Where a window lies, for `resized`: [4, 2] float32, of rows and of columns.

    Begin, extent, and the first and last pixel that may have a part in what it becomes: here those of the window.

    Args:
      begin, extent: [2] int32, of the window.
    """
    return tf.cast(tf.stack([begin, extent, begin, begin + extent - 1]), tf.float32)


def corners(size: tf.Tensor, side: int, crops: int) -> list[tf.Tensor]:
    """Where squares that evaluation cuts out of frames begin, [2] int32 each.

    Args:
      size: [2] int32, of the frames.
      side: pixels of the squares, at most those of a side of the frames.
      crops: 1, the centre, or 3: the two ends of the longer side around it, each in the middle of the other side.
    """
    margin = size - side
    longer = tf.cond(margin[0] >= margin[1], lambda: tf.constant([1, 0]), lambda: tf.constant([0, 1]))
    middle = margin // 2  # as in preprocess_ops_3d.crop_image
    begins = [middle * (1 - longer), middle, middle * (1 - longer) + margin * longer]
    return begins if crops == 3 else [middle]


def places(corners: tf.Tensor, side: int, size: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """`place` of squares that are cut out of frames after these are resized as a whole: [n, 4, 2] float32.

    They may begin between two pixels, and those around them have their part in them, too.

    Args:
      corners: [n, 2] int32, in pixels of resized frames.
      side: pixels of the squares.
      size, whole: [2] int32, of the frames before and after.
    """
    scale = tf.cast(size, tf.float32) / tf.cast(whole, tf.float32)
    begins = tf.cast(corners, tf.float32) * scale
    extent, last = float(side) * scale, tf.cast(size - 1, tf.float32)
    of_all = (tf.broadcast_to(one, tf.shape(begins)) for one in (extent, tf.zeros([2]), last))
    return tf.stack([begins, *of_all], axis=1)


def pixels(place: tf.Tensor, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels that have a part in a window: begin [2], extent [2] int32; arguments as in `resized`, of one place."""
    begin, extent, first, last = tf.unstack(place)
    step = extent / float(side)
    low, high = begin + 0.5 * step - 0.5, begin + (side - 0.5) * step - 0.5
    low, high = (tf.clip_by_value(one, first, last) for one in (tf.floor(low), tf.math.ceil(high)))
    return tf.cast(low, tf.int32), tf.cast(high - low, tf.int32) + 1


def room_of(size: tf.Tensor, places: tf.Tensor, side: int) -> tf.Tensor:
    """`room` for the largest of the squares that `places` cuts, of frames of a size [2] int32."""
    return tf.reduce_max([room(pixels(place, side)[1], size) for place in tf.unstack(places)], axis=0)


def fill(windows: Sequence[tuple], size: tf.Tensor, box: tuple[int, int], decode: Callable, whole: Callable) -> tuple:
    """Boxes of some windows of the frames of a clip, one each.

    Args:
      windows: (place, begin, extent) of each: `place`, and what must be in the box, [2] int32 each.
      size: [2] int32, of the frames.
      box: height and width.
      decode: function of a part of a frame [4] int32, as `cut` has it, to the T frames of the clip, cut so.
      whole: function to the windows as they are in the end, T frames each: for what does not fit into the box.
    Returns:
      T frames [*box, 3] uint8 of each window, and the places in them, [4, 2] float32 each.
    """
    cuts = [cut(begin, extent, size, box) for _, begin, extent in windows]

    def as_they_are():
        first = tf.reduce_min([one[:2] for one in cuts], axis=0)
        last = tf.reduce_max([one[:2] + one[2:] for one in cuts], axis=0)
        frames, found, in_boxes = decode(tf.concat([first, last - first], axis=0)), [], []
        for (window, _, _), one in zip(windows, cuts, strict=True):
            part = frames
            if len(cuts) > 1:
                begin, extent = (tf.concat(pair, axis=0) for pair in ((one[:2] - first, [0]), (one[2:], [3])))
                part = [tf.slice(frame, begin, extent) for frame in frames]
            found.append(padded(part, box))
            # All but the extent are places.
            in_boxes.append(window - tf.cast(one[:2], tf.float32) * tf.constant([[1.0], [0.0], [1.0], [1.0]]))
        return found, in_boxes

    def resized_already():
        found = whole()
        side = tf.fill([2], found[0][0].shape[0])
        return [padded(frames, box) for frames in found], [place(tf.zeros_like(side), side)] * len(found)

    fit = [fits(extent, size, box) for _, _, extent in windows]
    return tf.cond(tf.reduce_all(fit), as_they_are, resized_already)


def resized(frames: Sequence[tf.Tensor], places: tf.Tensor, side: int) -> tf.Tensor:
    """The windows of a batch of boxes, bilinear as `tf.image.resize`: [B, T, side, side, 3] float32 in [0, 255].

    By two products of matrices, which accelerators are made for. These multiply numbers of 8 bits (TPU) or 11 (TF32):
    all factors are split into parts that are exact in 8 bits or small, so that what is lost is below 0.01.

    Args:
      frames: T times [B, h, w, 3] uint8.
      places: [B, 4, 2] float32, from `place`.
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


def finished(frames: Sequence[tf.Tensor], places: tf.Tensor, side: int) -> tf.Tensor:
    """`resized`, rounded: [B, T, side, side, 3] uint8."""
    return tf.cast(resized(frames, places, side) + 0.5, tf.uint8)


def _weights(places, side, size):
    """Places along one axis [B, 4] -> [B, side, size] float32: what each pixel of a box adds to each of the result."""
    begin, extent, first, last = (places[:, number, None, None] for number in range(4))
    wanted = (tf.range(side, dtype=tf.float32)[:, None] + 0.5) * (extent / float(side)) - 0.5
    pixels = tf.range(size, dtype=tf.float32) - begin
    return tf.nn.relu(1.0 - tf.abs(tf.clip_by_value(wanted, first - begin, last - begin) - pixels))


def _split(values, parts):
    """Whole multiples of 1 / parts, and the rest."""
    coarse = tf.floor(values * parts) / parts
    return [coarse, values - coarse]


def _product(left, right):
    return tf.add_n([tf.matmul(a, b) for a in left for b in right])
