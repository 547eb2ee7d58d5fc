"""One record to one clip of it, frames, sound and narrations of the same time, and to further views of the record."""

from collections.abc import Mapping

import tensorflow as tf

from mmv_tf.inputs import labels
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.augmentation.sound import SoundAugment
from mmv_tf.inputs.faults import FAULT_MARK
from mmv_tf.inputs.video import VideoInput
from mmv_tf.inputs.views.view import View, seed_of, starts_of
from mmv_tf.records import schema


class ClipMaker:
    """Makes examples, all of one shape; what a record lacks is zeros under a False mask.

    An example: video [T, H, W, 3] uint8, audio [S] float32 (the waveform), text [K] string, those of them that are in
    `modalities`; video_mask, audio_mask bool; label int32, the first, -1 for none; label_names string, as
    `mmv_tf.inputs.labels` joins them; key string. In training each view has an entry like that of its modality, with a
    mask where video and sound have one. Sound that is digital silence all through the clip is missing: it is
    what stands where a source has no sound.

    With boxes, training clips of frames are what `VideoInput.boxed_clip` makes: their parts have the name of the input
    with '', '_place', '_draw' and perhaps '_order' after it.

    Args:
      modalities: of 'video', 'audio', 'text'.
      video: also says which span of time a clip is.
      audio: says the rate of the sound; None without sound.
      max_candidates: K.
      further: {name: View}, in an order in which each comes after the one that its time refers to.
      sound: augmentation of the sound in training; what it draws is in the example, as audio_draw.
      boxes: {'video' or name of a view of it: height and width of its box}; none: frames are made whole here.
    """

    def __init__(
        self,
        modalities,
        video: VideoInput,
        audio: LogMel | None,
        max_candidates: int,
        further: Mapping[str, View] | None = None,
        sound: SoundAugment | None = None,
        boxes: Mapping[str, tuple[int, int]] | None = None,
    ):
        self._boxes = dict(boxes or {})
        self._modalities, self._video, self._audio, self._candidates = modalities, video, audio, max_candidates
        self._views, self._sound_augment = dict(further or {}), sound
        self.num_samples = self.samples_of(video)  # S
        # Where a record has no frames, its sound says when a clip is; to pictures alone that is nothing.
        only_frames = tuple(modalities) == ("video",) and not self._views
        self._parts = ("video",) if only_frames else ("video", "audio")
        # `training` as one graph, for all datasets that are made of it: to trace it takes a second of each.
        scalar = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)
        self.traced_training = tf.function(self.training, [*scalar, tf.TensorSpec([2], tf.int64)], autograph=False)

    def samples_of(self, video: VideoInput) -> int:
        """Samples of sound in a clip that is as long as those of `video`."""
        return round(video.seconds * self._audio.sample_rate) if self._audio else 0

    def training(self, serialized: tf.Tensor, source: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A clip at a random time, augmented, with `source` among what it holds; a pure function of the arguments.

        Args:
          serialized: a record, scalar string. '' gives an example that lacks everything.
          source: scalar int32.
          seed: [2] integer.
        Raises:
          tf.errors.InvalidArgumentError: no record, a frame that cannot be decoded, or sound of another rate.
        """
        record = schema.parse(serialized, self._parts)
        start_seed, clip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        start = self._video.random_start(*self.stored(record), start_seed)
        text_seed = tf.random.experimental.stateless_fold_in(seed, 1)
        starts = starts_of(self._views, self._video, *self.stored(record), start, seed, record["key"])
        start = starts.pop("")
        example = {
            **self._example(record, start, *self._training_frames("video", self._video, clip_seed), text_seed),
            "source": source,
        }
        if self._sound_augment and "audio" in self._modalities:
            example |= self._augmented(self._sound_augment, example, "audio", seed)
        for name, view in self._views.items():
            example |= self._view(record, name, view, starts[name], seed_of(name, seed))
        return example

    def _training_frames(self, name, video: VideoInput, seed):
        """What makes training frames of JPEGs, and what it makes, both by what comes after the name of the input."""
        if box := self._boxes.get(name):
            return lambda jpegs: video.boxed_clip(jpegs, seed, box), video.boxed_spec(box)
        return lambda jpegs: {"": video.training_clip(jpegs, seed)}, {"": tf.TensorSpec(video.shape, tf.uint8)}

    def _augmented(self, sound: SoundAugment, example, name: str, seed):
        """The sound of an example with noise, and what else was drawn for its augmentation."""
        noise, draw = (tf.random.experimental.stateless_fold_in(seed, number) for number in (3, 2))
        noisy = tf.ensure_shape(sound.add_noise(example[name], noise), example[name].shape)
        return {name: noisy, f"{name}_draw": sound.draw(draw)}

    def _view(self, record, name, view, start, seed):
        """What a view adds to an example."""
        video = view.video or self._video
        _, clip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        seen = self._of_time(
            record,
            start,
            (view.of,),
            video,
            *self._training_frames(name, video, clip_seed),
            tf.random.experimental.stateless_fold_in(seed, 1),
        )
        if view.reverse and view.of == "video" and name not in self._boxes:  # those are turned when they are whole
            seen["video"] = tf.reverse(seen["video"], [0])
        sound = view.sound or self._sound_augment
        if sound and view.of == "audio":
            seen |= self._augmented(sound, seen, "audio", seed)
        return {f"{name}{key.removeprefix(view.of)}": value for key, value in seen.items()}

    def evaluation(
        self, serialized: tf.Tensor, clip: tf.Tensor, num_clips: int, crops: int = 1, box: tuple[int, int] | None = None
    ) -> dict[str, tf.Tensor]:
        """Clip number `clip` of `num_clips` evenly spaced ones, not augmented.

        Args:
          crops: 1, the centre of the frames, or 3 (`VideoInput.evaluation_crops`): then video is [3, T, H, W, 3].
          box: if not None, frames are what `VideoInput.boxed_evaluation` makes for it, by parts as in training; that of
            training, if there is one.
        """
        box = box or self._boxes.get("video")
        record = schema.parse(serialized, self._parts)
        start = self._video.spaced_starts(*self.stored(record), num_clips)[clip]
        if box:
            spec = self._video.boxed_spec(box, is_drawn=False, crops=crops)
            return self._example(record, start, lambda jpegs: self._video.boxed_evaluation(jpegs, box, crops), spec)
        seen, shape = self._video.evaluation_clip, self._video.shape
        if crops == 3:
            seen, shape = self._video.evaluation_crops, (3, *shape)
        return self._example(record, start, lambda jpegs: {"": seen(jpegs)}, {"": tf.TensorSpec(shape, tf.uint8)})

    def stored(self, record):
        """Number of frames and frames a second of a record; as many as its sound would have if it has no frames."""
        frames = tf.size(record["video"])
        # Not in float32, which makes 52.999996 of 53; half a sample, as preprocessing rounds to whole ones.
        samples, sample_rate = (tf.cast(one, tf.float64) for one in (tf.size(record["audio"]), record["sample_rate"]))
        heard = tf.cast((samples + 0.5) * self._video.frame_rate / sample_rate + 1e-6, tf.int32)
        return tf.where(frames > 0, frames, heard), tf.where(frames > 0, record["frame_rate"], self._video.frame_rate)

    def _example(self, record, start, decode, spec, text_seed=None):
        """One clip of a record: frames from number `start`, and what belongs to the same time."""
        return {
            "key": record["key"],
            "label": tf.cast(tf.concat([record["label"], [-1]], axis=0)[0], tf.int32),
            "label_names": labels.joined(record),
            **self._of_time(record, start, self._modalities, self._video, decode, spec, text_seed),
        }

    def _of_time(self, record, start, modalities, video, decode, spec, text_seed):
        """The modalities of a clip as long as those of `video`, from frame number `start`, with their masks."""
        frames, frame_rate = self.stored(record)
        example = {}
        begin = tf.cast(start, tf.float32) / frame_rate  # seconds from the start of the record
        if "video" in modalities:
            example["video_mask"] = tf.size(record["video"]) > 0
            clip = tf.cond(
                example["video_mask"],
                lambda: decode(video.sample(record["video"], frame_rate, start)),
                lambda: tf.nest.map_structure(lambda one: tf.zeros(one.shape, one.dtype), spec),
            )
            example |= {f"video{part}": value for part, value in clip.items()}
        if "audio" in modalities:
            example["audio"] = self._sound(
                record, begin, tf.cast(frames, tf.float32) / frame_rate, self.samples_of(video)
            )
            # In a quarter of the time of `reduce_any(sound != 0)`; NaN counts as sound, and is found later.
            example["audio_mask"] = tf.reduce_max(tf.abs(example["audio"])) != 0
        if "text" in modalities:
            example["text"] = self._narrations(record, record["start"] + begin, video.seconds, text_seed)
        return example

    def _sound(self, record, begin, seconds, samples):
        """The waveform [samples] from second `begin`; its span is that of the frames, with which it repeats."""
        rate = float(self._audio.sample_rate)
        found = tf.strings.as_string(record["sample_rate"], shortest=True)
        setting = f"{type(self._audio).__name__ if isinstance(self._audio, LogMel) else 'LogMel'}.sample_rate"
        wrong_rate = [FAULT_MARK, "record ", record["key"], ": sound at ", found, f" Hz, and {setting} is "]
        wrong_rate = tf.strings.join([*wrong_rate, f"{rate:g}: preprocess with that rate, or change the setting"])
        fits = (tf.size(record["audio"]) == 0) | (record["sample_rate"] == rate)
        with tf.control_dependencies([tf.debugging.Assert(fits, [wrong_rate])]):
            period = tf.maximum(tf.cast(tf.round(seconds * rate), tf.int32), 1)
        sound = record["audio"][:period]
        sound = tf.pad(sound, [[0, period - tf.size(sound)]])
        first = tf.cast(tf.round(begin * rate), tf.int32)
        sound = tf.cond(
            first + samples <= period,
            lambda: sound[first : first + samples],
            lambda: tf.gather(sound, (first + tf.range(samples)) % period),
        )
        return tf.ensure_shape(sound, [samples])

    def _narrations(self, record, begin, seconds, seed):
        """K texts, '' where there are fewer: those nearest to the clip, which begins at second `begin` of the source.

        A record holds them nearest to itself first. If it has more than K and knows their times, the K nearest to the
        clip are taken, as `mmv_tf.beam.captions.nearest.nearest` does: the smaller gap, then the nearer middle. Among
        those that are equally near, such as sentences about the whole clip, they are drawn (`drawn_order`).
        """
        texts, starts, ends = record["text"], record["text_start"], record["text_end"]
        have_times = (tf.size(starts) == tf.size(texts)) & (tf.size(ends) == tf.size(texts))

        def chosen():
            order = drawn_order(record["key"], texts, seed)
            return tf.gather(texts, tf.cond(have_times, lambda: nearest(order), lambda: order)[: self._candidates])

        def nearest(order):
            end = begin + seconds
            middles = tf.abs(starts + ends - (begin + end))
            gaps = tf.maximum(tf.maximum(starts - end, begin - ends), 0.0)
            for distance in (middles, gaps):
                order = tf.gather(order, tf.argsort(tf.gather(distance, order), stable=True))
            return order

        texts = tf.cond(tf.size(texts) > self._candidates, chosen, lambda: texts)
        texts = tf.pad(texts, [[0, self._candidates - tf.size(texts)]], constant_values="")
        return tf.ensure_shape(texts, [self._candidates])


def drawn_order(key: tf.Tensor, texts: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """An order of a record's texts [N] as numbers int32 [N], to take some of them: another one for every seed [2].

    Without a seed it is that of a hash of key and text, the same at all times. The order in which texts are stored says
    something about them: it can be that of the alphabet.
    """
    if seed is not None:
        return tf.argsort(tf.random.stateless_uniform(tf.shape(texts), seed))
    return tf.argsort(tf.strings.to_hash_bucket_fast(tf.strings.join([key, "\x1f", texts]), 2**62))
