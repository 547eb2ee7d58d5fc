"""One record to one clip of it: frames, sound and narrations of the same time."""

import tensorflow as tf

from mmv_tf.inputs import labels
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.faults import FAULT_MARK
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema


class ClipMaker:
    """Makes examples, all of one shape; what a record lacks is zeros under a False mask.

    An example: video [T, H, W, 3] uint8, audio [S] float32 (the waveform), text [K] string, those of them that are in
    `modalities`; video_mask, audio_mask bool; label int32, the first, -1 for none; label_names string, as
    `mmv_tf.inputs.labels` joins them; key string. Sound that is digital silence all through the clip is missing: it is
    what stands where a source has no sound.

    Args:
      modalities: of 'video', 'audio', 'text'.
      video: also says which span of time a clip is.
      audio: says the rate of the sound; None without sound.
      max_candidates: K.
    """

    def __init__(self, modalities, video: VideoInput, audio: LogMel | None, max_candidates: int):
        self._modalities, self._video, self._audio, self._candidates = modalities, video, audio, max_candidates
        self.num_samples = round(video.seconds * audio.sample_rate) if audio else 0  # S

    def training(self, serialized: tf.Tensor, source: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A clip at a random time, augmented, with `source` among what it holds; a pure function of the arguments.

        Args:
          serialized: a record, scalar string. '' gives an example that lacks everything.
          source: scalar int32.
          seed: [2] integer.
        Raises:
          tf.errors.InvalidArgumentError: no record, a frame that cannot be decoded, or sound of another rate.
        """
        record = schema.parse(serialized)
        start_seed, clip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        start = self._video.random_start(*self.stored(record), start_seed)
        text_seed = tf.random.experimental.stateless_fold_in(seed, 1)
        return {
            **self._example(record, start, lambda jpegs: self._video.training_clip(jpegs, clip_seed), text_seed),
            "source": source,
        }

    def evaluation(self, serialized: tf.Tensor, clip: tf.Tensor, num_clips: int) -> dict[str, tf.Tensor]:
        """Clip number `clip` of `num_clips` evenly spaced ones, not augmented."""
        record = schema.parse(serialized)
        start = self._video.spaced_starts(*self.stored(record), num_clips)[clip]
        return self._example(record, start, self._video.evaluation_clip)

    def stored(self, record):
        """Number of frames and frames a second of a record; as many as its sound would have if it has no frames."""
        frames = tf.size(record["video"])
        heard = tf.cast(
            tf.cast(tf.size(record["audio"]), tf.float32) / record["sample_rate"] * self._video.frame_rate, tf.int32
        )
        return tf.where(frames > 0, frames, heard), tf.where(frames > 0, record["frame_rate"], self._video.frame_rate)

    def _example(self, record, start, decode, text_seed=None):
        """One clip of a record: frames from number `start`, and what belongs to the same time."""
        frames, frame_rate = self.stored(record)
        example = {
            "key": record["key"],
            "label": tf.cast(tf.concat([record["label"], [-1]], axis=0)[0], tf.int32),
            "label_names": labels.joined(record),
        }
        begin = tf.cast(start, tf.float32) / frame_rate  # seconds from the start of the record
        if "video" in self._modalities:
            example["video_mask"] = tf.size(record["video"]) > 0
            example["video"] = tf.cond(
                example["video_mask"],
                lambda: decode(self._video.sample(record["video"], frame_rate, start)),
                lambda: tf.zeros(self._video.shape, tf.uint8),
            )
        if "audio" in self._modalities:
            example["audio"] = self._sound(record, begin, tf.cast(frames, tf.float32) / frame_rate)
            example["audio_mask"] = tf.reduce_any(example["audio"] != 0)
        if "text" in self._modalities:
            example["text"] = self._narrations(record, record["start"] + begin, text_seed)
        return example

    def _sound(self, record, begin, seconds):
        """The waveform [S] from second `begin`; its span is that of the frames, with which it repeats."""
        rate = float(self._audio.sample_rate)
        found = tf.strings.as_string(record["sample_rate"], shortest=True)
        wrong_rate = [FAULT_MARK, "record ", record["key"], ": sound at ", found, " Hz, and LogMel.sample_rate is "]
        wrong_rate = tf.strings.join([*wrong_rate, f"{rate:g}: preprocess with that rate, or change the setting"])
        fits = (tf.size(record["audio"]) == 0) | (record["sample_rate"] == rate)
        with tf.control_dependencies([tf.debugging.Assert(fits, [wrong_rate])]):
            period = tf.maximum(tf.cast(tf.round(seconds * rate), tf.int32), 1)
        sound = record["audio"][:period]
        sound = tf.pad(sound, [[0, period - tf.size(sound)]])
        first = tf.cast(tf.round(begin * rate), tf.int32)
        sound = tf.cond(
            first + self.num_samples <= period,
            lambda: sound[first : first + self.num_samples],
            lambda: tf.gather(sound, (first + tf.range(self.num_samples)) % period),
        )
        return tf.ensure_shape(sound, [self.num_samples])

    def _narrations(self, record, begin, seed):
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
            end = begin + self._video.seconds
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
