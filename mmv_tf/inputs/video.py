"""Stored JPEG frames to clips: sample, decode, preprocess (the words of DMVR); the same for training and evaluation.

Every random choice is a pure function of the seed that a record is given, one choice a clip, so all frames agree.
"""

from collections.abc import Sequence
from typing import Literal

import gin
import numpy as np
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, Positive, Share, ShareBelowOne
from mmv_tf.inputs.augmentation import boxes, colour
from mmv_tf.inputs.augmentation import frames as changes

_REDUCTIONS = (1, 2, 4, 8)  # libjpeg decodes at these fractions of the size, faster and without aliasing


@configurable
class VideoInput:
    """Turns the JPEG frames of one record into clips [num_frames, crop_size, crop_size, 3] uint8 (see to_float).

    Training: scale jitter, resize to min_side, random crop, colour, grey, blur, solarisation, flip; evaluation: resize,
    centre crop. The steps and ranges are those of MMV (paper section 4.1; DMVR and VATT publish the same ones in code),
    which has no grey, blur and solarisation.

    Args:
      num_frames: T.
      frame_rate: Hz; frames nearest in time are taken from records of other rates.
      min_side: pixels of the shorter side after resizing.
      crop_size: pixels of the square crop, at most min_side.
      scale_jitter: height and width are scaled independently by 1 - scale_jitter .. 1 + scale_jitter before resizing.
      scale_jitter_probability, flip_probability, colour_probability: of each augmentation.
      brightness: greatest change, as a part of the full range.
      saturation, contrast: greatest change of the factor (0.4: from 0.6 to 1.4).
      hue: greatest turn, as a part of the full circle.
      jit_compile: run the colour step as one XLA loop; several times faster on CPU.
      max_side: if it is not 0, min_side is drawn from min_side to max_side (GDT).
      crop_only: the random crop is taken of the stored frames as they are, without resizing (MIL-NCE).
      crop_area: least and greatest part of the frame that a crop of random size is, which is resized to crop_size
        (SimCLR: 0.08 and 1; CVRL: 0.3 and 1); None: crops as above.
      crop_aspect: of such a crop, least and greatest width over height.
      colour_order: 'together', as above; 'random': brightness (then a factor, too), contrast, saturation and hue one
        after the other, in an order that is drawn, clipped after each (SimCLR, CVRL; slower).
      grey_probability, blur_probability, solarise_probability: of each.
      blur_sigma: least and greatest deviation of the blur, in pixels, over a tenth of crop_size.
      value_range: what networks get for black and white in place of 0 and 1, in training and ever after ...
      mean, deviation: ... and what is then taken off each channel, and what it is divided by.

    Raises:
      ValueError: crop_size above min_side, a range that does not rise, or a number that must be positive is not.
    """

    def __init__(
        self,
        num_frames: Count = 32,
        frame_rate: Positive = 10.0,
        min_side: Count = 224,
        crop_size: Count = 200,
        scale_jitter: ShareBelowOne = 0.2,
        scale_jitter_probability: Share = 0.8,
        flip_probability: Share = 0.5,
        colour_probability: Share = 0.8,
        brightness: Share = 32 / 255,
        saturation: Share = 0.4,
        contrast: Share = 0.4,
        hue: Share = 0.2,
        jit_compile: bool = True,
        max_side: CountOrNone = 0,
        crop_only: bool = False,
        crop_area: tuple[Share, Share] | None = None,
        crop_aspect: tuple[Positive, Positive] = (3 / 4, 4 / 3),
        colour_order: Literal["together", "random"] = "together",
        grey_probability: Share = 0.0,
        blur_probability: Share = 0.0,
        blur_sigma: tuple[Positive, Positive] = (0.1, 2.0),
        solarise_probability: Share = 0.0,
        value_range: tuple[float, float] = (0.0, 1.0),
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        deviation: Sequence[Positive] = (1.0, 1.0, 1.0),
    ):
        if crop_size > min_side:
            raise ValueError(f"VideoInput.crop_size = {crop_size} is more than VideoInput.min_side = {min_side}.")
        self.num_frames, self.frame_rate, self.min_side, self.crop_size = num_frames, frame_rate, min_side, crop_size
        self.scale_jitter, self.scale_jitter_probability = scale_jitter, scale_jitter_probability
        self.flip_probability, self.colour_probability = flip_probability, colour_probability
        self.brightness, self.saturation, self.contrast, self.hue = brightness, saturation, contrast, hue
        changes.check_windows("VideoInput", crop_area or (1, 1), crop_aspect)
        for name, (least, most) in {"blur_sigma": blur_sigma, "value_range": value_range}.items():
            if least > most or name == "value_range" and least == most:
                raise ValueError(f"VideoInput.{name} = {(least, most)}: the second number must be above the first.")
        for name, values in {"mean": mean, "deviation": deviation}.items():
            if len(values) != 3:
                raise ValueError(f"VideoInput.{name} = {tuple(values)}: there are three channels.")
        if 0 < max_side < min_side:
            raise ValueError(f"VideoInput.max_side = {max_side} is less than VideoInput.min_side = {min_side}.")
        if crop_only and crop_area:
            raise ValueError("VideoInput.crop_only does not resize, and VideoInput.crop_area does; leave one out.")
        self.max_side, self.crop_only, self.crop_area, self.crop_aspect = max_side, crop_only, crop_area, crop_aspect
        self.colour_order, self.grey_probability = colour_order, grey_probability
        self.blur_probability, self.blur_sigma = blur_probability, blur_sigma
        self.solarise_probability = solarise_probability
        self.value_range, self.mean, self.deviation = tuple(value_range), tuple(mean), tuple(deviation)
        ranges = (brightness, saturation, contrast, hue)
        self._change_colour, self._change_colours = colour.changes(colour_probability, ranges, jit_compile)
        to_float = (lambda frames: self.normalised(_to_float(frames))) if self.normalises else _to_float
        self.to_float = tf.function(to_float, jit_compile=jit_compile, autograph=False)

    @property
    def normalises(self) -> bool:
        """Whether networks get other values than those in [0, 1]."""
        return (self.value_range, self.mean, self.deviation) != ((0.0, 1.0), (0.0,) * 3, (1.0,) * 3)

    def normalised(self, frames: tf.Tensor) -> tf.Tensor:
        """Frames or images [..., 3] in [0, 1] as networks get them. Whatever gives frames to a network calls this."""
        if not self.normalises:
            return frames
        low, high = self.value_range
        return (frames * (high - low) + (low - np.float32(self.mean))) / np.float32(self.deviation)

    def restored(self, frames: np.ndarray) -> np.ndarray:
        """Frames that are `normalised` in [0, 1] again, to be looked at."""
        low, high = self.value_range
        return (frames * np.float32(self.deviation) + np.float32(self.mean) - low) / (high - low)

    @property
    def seconds(self) -> float:
        """Span of a clip."""
        return self.num_frames / self.frame_rate

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of a clip: [T, H, W, 3]."""
        return (self.num_frames, self.crop_size, self.crop_size, 3)

    def random_start(self, stored_frames: tf.Tensor, stored_rate: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Index of the first frame of a training clip, scalar int32; uniform over those that leave room for a clip."""
        last = self._last_start(stored_frames, stored_rate)
        return tf.random.stateless_uniform([], seed, minval=0, maxval=last + 1, dtype=tf.int32)

    def spaced_starts(self, stored_frames: tf.Tensor, stored_rate: tf.Tensor, num_clips: int) -> tf.Tensor:
        """Indices of the first frames of evaluation clips, int32 [num_clips]: evenly spaced, or the middle for one."""
        last = self._last_start(stored_frames, stored_rate)
        if num_clips == 1:
            return (last // 2)[None]
        return tf.cast(tf.linspace(0.0, tf.cast(last, tf.float32), num_clips), tf.int32)

    def _last_start(self, stored_frames, stored_rate):
        return tf.maximum(0, stored_frames - self.span(stored_rate))

    def reach(self, stored_rate: tf.Tensor) -> tf.Tensor:
        """Stored frames from the first that a clip takes to the last, scalar int32."""
        return tf.cast(tf.round((self.num_frames - 1) * stored_rate / self.frame_rate), tf.int32)

    def span(self, stored_rate: tf.Tensor) -> tf.Tensor:
        """Stored frames that a clip is long, scalar int32; rounded up."""
        return tf.cast(tf.math.ceil(self.num_frames * stored_rate / self.frame_rate - 1e-3), tf.int32)

    def sample(self, jpegs: tf.Tensor, stored_rate: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        """The frames of a clip, still encoded: [stored] string -> [T] string, of every time the nearest.

        Where two are equally near it is the one of even number, so that a clip is not early or late as a whole. Too
        short a record is repeated.
        """
        stored = tf.size(jpegs)
        steps = tf.range(self.num_frames, dtype=tf.float32) * (stored_rate / self.frame_rate)
        nearest = start + tf.cast(tf.round(steps), tf.int32)
        # Rounding up can lead one frame beyond the end, where the last frame is the nearest.
        is_inside = start + self.span(stored_rate) <= stored
        return tf.gather(jpegs, tf.where(is_inside, tf.minimum(nearest, stored - 1), nearest % stored))

    def training_clip(self, jpegs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Decodes and augments sampled frames: [T] string, seed [2] integer -> [T, H, W, 3] uint8."""
        draw, window, size = self._drawn(jpegs, seed)
        frames = self._changed(self._cut(jpegs, window, size), draw, self._order(seed))
        return tf.cond(draw[5] < self.flip_probability, lambda: changes.flip(frames), lambda: frames)

    def boxed_clip(self, jpegs: tf.Tensor, seed: tf.Tensor, box: tuple[int, int]) -> dict:
        """What the host does of `training_clip` where an accelerator does the rest (`unboxed`): decode and cut.

        Args:
          jpegs, seed: as in `training_clip`.
          box: height and width of the box, in pixels; see `mmv_tf.inputs.augmentation.boxes`.
        Returns:
          what `boxed_spec` says.
        """
        draw, window, size = self._drawn(jpegs, seed)
        with tf.control_dependencies([boxes.one_size(jpegs, self.num_frames)]):
            reduction = self._reduction(window)
        decoded = _decoded_size(size, reduction)
        begin, extent = boxes.whole_pixels(window, size, decoded)
        frames, places = boxes.fill(
            [(boxes.place(begin, extent), begin, extent)],
            *(decoded, box, lambda cut: self._decode(jpegs, reduction, cut)),
            lambda: [tf.unstack(tf.cast(self._cut(jpegs, window, size) + 0.5, tf.uint8))],
        )
        found = {"": frames[0], "_place": places[0], "_draw": draw}
        return found | ({"_order": self._order(seed)} if self._has_order else {})

    def boxed_evaluation(self, jpegs: tf.Tensor, box: tuple[int, int], crops: int = 1) -> dict:
        """What the host does of `evaluation_clip`, or with crops = 3 of `evaluation_crops`, as in `boxed_clip`."""
        size = tf.io.extract_jpeg_shape(jpegs[0])[:2]
        with tf.control_dependencies([boxes.one_size(jpegs, self.num_frames)]):
            decoded, places = self._evaluation_places(size, crops)
        frames, places = boxes.fill(
            [(place, *boxes.pixels(place, self.crop_size)) for place in tf.unstack(places, crops)],
            *(decoded, box, lambda cut: self._decode(jpegs, self._evaluation_reduction(size), cut)),
            lambda: [tf.unstack(clip) for clip in tf.unstack(self._evaluated(jpegs, crops))],
        )
        if crops == 1:
            return {"": frames[0], "_place": places[0]}
        return {"": tuple(map(tf.stack, zip(*frames, strict=True))), "_place": tf.stack(places)}

    def boxed_spec(self, box: tuple[int, int], is_drawn: bool = True, crops: int = 1) -> dict:
        """Shapes and types of `boxed_clip`, by what is put after the name of the input.

        '' T frames [*box, 3] uint8, '_place' [4, 2] float32 (`boxes.place`), '_draw' [16] float32 in [0, 1), and with
        colour_order = 'random' '_order' [4] int32; of `boxed_evaluation`, where nothing is drawn, the first two, and of
        several crops all of each.
        """
        axes = [crops] * (crops > 1)
        spec = {
            "": (tf.TensorSpec([*axes, *box, 3], tf.uint8),) * self.num_frames,
            "_place": tf.TensorSpec([*axes, 4, 2]),
        }
        spec |= {"_draw": tf.TensorSpec([16])} if is_drawn else {}
        return spec | ({"_order": tf.TensorSpec([4], tf.int32)} if is_drawn and self._has_order else {})

    def unboxed(self, boxed: dict, mask: tf.Tensor) -> tf.Tensor:
        """Clips of a batch as the host makes them, but for rounding, of what `boxed_clip` left: [B, T, H, W, 3].

        What is not drawn, as by `boxed_evaluation`, is not changed.

        Args:
          boxed: a batch of `boxed_spec`.
          mask: [B] bool, whether there are frames; zeros where not.
        """
        is_there, given = mask[:, None, None, None, None], (boxed[""], boxed["_place"], self.crop_size)
        if "_draw" not in boxed:
            return tf.where(is_there, boxes.finished(*given), tf.zeros([], tf.uint8))
        frames = boxes.resized(*given)
        draw = boxed["_draw"]
        if self._in_steps:
            clips = (frames, draw, boxed.get("_order", tf.zeros_like(draw, tf.int32)))
            # As float32: a GPU has no lists of uint8.
            changed = tf.map_fn(
                lambda clip: tf.cast(self._changed(*clip), tf.float32), clips, fn_output_signature=tf.float32
            )
            frames = tf.cast(changed, tf.uint8)
        elif self.colour_probability:
            frames = self._change_colours(frames, draw[:, 6:11])
        else:
            frames = tf.cast(frames + 0.5, tf.uint8)
        is_turned = (draw[:, 5] < self.flip_probability)[:, None, None, None, None]
        return tf.where(is_there, tf.where(is_turned, tf.reverse(frames, [3]), frames), tf.zeros([], tf.uint8))

    def box_for(self, sizes: Sequence[tuple[int, int]], draws: int = 256) -> tuple[int, int]:
        """Height and width of a box for frames of these sizes: the largest of `draws` windows of each fits.

        Without draws: all crops of evaluation fit.
        """
        sizes = tf.constant(sorted(set(sizes)) or [(self.crop_size, self.crop_size)])
        if not draws:
            rooms = [boxes.room_of(*self._evaluation_places(size, 3), self.crop_size) for size in sizes]
            return tuple(tf.reduce_max([*rooms, [self.crop_size] * 2], axis=0).numpy().tolist())

        def room(number):
            size, seed = sizes[number // draws], tf.stack([number, number])
            window = self._window(size, tf.random.stateless_uniform([16], seed), seed)
            decoded = _decoded_size(size, self._reduction(window))
            return boxes.room(boxes.whole_pixels(window, size, decoded)[1], decoded)

        rooms = tf.data.Dataset.range(draws * len(sizes)).map(room)
        height, width = rooms.reduce(tf.fill([2], self.crop_size), tf.maximum).numpy().tolist()
        return height, width

    @property
    def _in_steps(self) -> bool:
        """Whether more changes than colours as one matrix."""
        return bool(self._has_order or self.grey_probability or self.blur_probability or self.solarise_probability)

    @property
    def _has_order(self) -> bool:
        return self.colour_order == "random"

    def _drawn(self, jpegs, seed):
        """All numbers drawn for a clip [16], its window and the size [height, width] of the stored frames."""
        draw = tf.random.stateless_uniform([16], seed)
        size = tf.io.extract_jpeg_shape(jpegs[0])[:2]
        return draw, self._window(size, draw, seed), size

    def _window(self, size, draw, seed):
        if self.crop_area:
            crop_seed = tf.random.experimental.stateless_fold_in(seed, 1)
            return changes.resized_window(size, crop_seed, self.crop_area, self.crop_aspect)
        return self._random_window(tf.cast(size, tf.float32), draw[:5], draw[15])

    def _order(self, seed):
        """The order of the colour changes, [4] int32; nothing where it is not drawn."""
        if not self._has_order:
            return None
        return tf.random.experimental.stateless_shuffle(tf.range(4), tf.random.experimental.stateless_fold_in(seed, 2))

    def _reduction(self, window):
        """Which of _REDUCTIONS frames are decoded at, scalar int32: where the clip is so many times smaller."""
        return self._reduction_of(tf.reduce_min(window[2:]) // self.crop_size)

    def _reduction_of(self, most):
        return tf.reduce_sum(tf.cast(most >= tf.constant(_REDUCTIONS[1:], most.dtype), tf.int32))

    def _decode(self, jpegs, reduction, cut=None):
        """[T] string -> T frames [h, w, 3] uint8 at one of _REDUCTIONS; of `cut` [top, left, height, width] or all."""

        def decode(ratio):
            def one(jpeg):
                if cut is None:
                    return tf.io.decode_jpeg(jpeg, channels=3, ratio=ratio)
                return tf.image.decode_and_crop_jpeg(jpeg, cut, channels=3, ratio=ratio)

            # Written out, not looped over: fewer dispatches, and the frames of a clip can be decoded side by side.
            return lambda: [one(jpeg) for jpeg in tf.unstack(jpegs, self.num_frames)]

        return tf.switch_case(reduction, [decode(ratio) for ratio in _REDUCTIONS])

    def _cut(self, jpegs, window, size):
        """The window of the frames, resized: [T, H, W, 3] float32."""
        with tf.control_dependencies([boxes.one_size(jpegs, self.num_frames)]):
            reduction = self._reduction(window)
        decoded = _decoded_size(size, reduction)
        begin, extent = boxes.whole_pixels(window, size, decoded)
        frames = boxes.windows(begin, extent, decoded, lambda part: self._decode(jpegs, reduction, part))
        # The kernel for float32 is faster than the one for uint8.
        frames = tf.image.resize(tf.cast(frames, tf.float32), [self.crop_size, self.crop_size])
        return tf.ensure_shape(frames, self.shape)

    def _changed(self, frames, draw, order):
        """What is drawn for a clip but the flip: [T, H, W, 3] float32 in [0, 255] -> uint8."""
        if self._in_steps:
            return self._change_in_steps(frames, draw[6:15], order)
        if self.colour_probability:
            return self._change_colour(frames, draw[6:11])
        return tf.cast(frames + 0.5, tf.uint8)  # not as XLA, whose compilation takes seconds

    def _random_window(self, size, draw, side_draw=0.0):
        """The part of the stored frame that training sees, float32 [top, left, height, width] in stored pixels.

        Scale jitter, resize_smallest and crop, one after the other, are one change of coordinates: the frame is
        resampled once, where the reference resamples it twice.
        """
        jitter = 1.0 + self.scale_jitter * (2.0 * draw[1:3] - 1.0)
        scale = tf.where(draw[0] < self.scale_jitter_probability, jitter, tf.ones([2]))
        side = float(self.min_side)
        if self.max_side:
            side = tf.floor(side + side_draw * (self.max_side - self.min_side + 1))
        if not self.crop_only:
            scale *= side / tf.reduce_min(size * scale)
        extent = tf.minimum(self.crop_size / scale, size)
        return tf.concat([draw[3:5] * (size - extent), extent], axis=0)

    def _change_in_steps(self, frames, draw, order):
        """Colour, grey, blur and solarisation: [T, H, W, 3] float32 in [0, 255], draws [9] -> [T, H, W, 3] uint8."""

        def maybe(change, chance, number, frames):
            return tf.cond(draw[number] < chance, lambda: change(frames), lambda: frames) if chance else frames

        def jitter(frames):
            ranges = (self.brightness, self.contrast, self.saturation, self.hue)
            return changes.jitter(frames, draw[1:5], order, ranges)

        def blur(frames):
            low, high = self.blur_sigma
            return changes.blur(frames, low + (high - low) * draw[7], self.crop_size // 10)

        if self._has_order:
            frames = maybe(jitter, self.colour_probability, 0, frames / 255)
        elif self.colour_probability:
            frames = tf.cast(self._change_colour(frames, draw[:5]), tf.float32) / 255
        else:
            frames = frames / 255
        frames = maybe(changes.grey, self.grey_probability, 5, frames)
        frames = maybe(blur, self.blur_probability, 6, frames)
        frames = maybe(changes.solarise, self.solarise_probability, 8, frames)
        return tf.cast(255.0 * tf.clip_by_value(frames, 0.0, 1.0) + 0.5, tf.uint8)

    def evaluation_clip(self, jpegs: tf.Tensor) -> tf.Tensor:
        """Decodes sampled frames and takes the centre: [T] string -> [T, H, W, 3] uint8."""
        return self._evaluated(jpegs, 1)[0]

    def evaluation_crops(self, jpegs: tf.Tensor) -> tf.Tensor:
        """`evaluation_clip`, and the two ends of the longer side around it: [T] string -> [3, T, H, W, 3] uint8.

        Left, centre and right of frames that are wider than high, otherwise top, centre and bottom, each in the middle
        of the other side (vatt, data/processing.py: multi_crop_image).
        """
        return self._evaluated(jpegs, 3)

    def _evaluated(self, jpegs, crops):
        """Crops of the frames, whose shorter side is min_side pixels before: [crops, T, H, W, 3] uint8."""
        frames = tf.stack(self._decode(jpegs, self._evaluation_reduction(tf.io.extract_jpeg_shape(jpegs[0])[:2])))
        size = tf.shape(frames)[1:3]
        whole = self._whole(size)

        def cut(frames):
            extent = [-1, self.crop_size, self.crop_size, -1]
            begins = boxes.corners(whole, self.crop_size, crops)
            return tf.stack([tf.slice(frames, tf.pad(begin, [[1, 1]]), extent) for begin in begins])

        def resized():
            return tf.cast(cut(tf.image.resize(tf.cast(frames, tf.float32), whole)) + 0.5, tf.uint8)

        # Frames that have their size, as those of a file to be embedded, need not become floats.
        found = tf.cond(tf.reduce_all(whole == size), lambda: cut(frames), resized)
        return tf.ensure_shape(found, (crops, *self.shape))

    def _evaluation_reduction(self, size):
        return self._reduction_of(tf.reduce_min(size) // self.min_side)

    def _evaluation_places(self, size, crops):
        """(size of frames as evaluation decodes them [2] int32, places of its crops in them [crops, 4, 2])."""
        decoded = _decoded_size(size, self._evaluation_reduction(size))
        whole = self._whole(decoded)
        corners = boxes.corners(whole, self.crop_size, crops)
        return decoded, boxes.places(tf.stack(corners), self.crop_size, decoded, whole)

    def _whole(self, size):
        """The size of frames [2] int32 once their shorter side is min_side, as preprocess_ops_3d.resize_smallest."""
        return tf.maximum(self.min_side, size * self.min_side // tf.reverse(size, [0]))


def _decoded_size(size, reduction):
    """[height, width] of a stored frame -> at a number of _REDUCTIONS; int32."""
    return -(-size // tf.constant(_REDUCTIONS)[reduction])  # as libjpeg rounds


def _to_float(frames):
    return tf.cast(frames, tf.float32) * (1 / 255)


def preprocess_ops_3d():
    """The module official.vision.ops.preprocess_ops_3d (tf-models-official), whose functions are pure TensorFlow.

    Importing it makes gin configurables of its own, which gin refuses once a configuration is final.
    """
    with gin.unlock_config():
        from official.vision.ops import preprocess_ops_3d
    return preprocess_ops_3d
