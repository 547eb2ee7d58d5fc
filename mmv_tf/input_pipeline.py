"""Files of records to batches: a dict of tensors (DESIGN.md section 5), deterministic and resumable by step number.

    phases: read (record_stream), parse (records), sample and decode (video), preprocess (video, audio, text)

The batch: video [B, T, H, W, 3] float32 in [0, 1]; audio [B, T', M, 1] float32 log-mel; text [B, K, W] int32 word ids;
video_mask, audio_mask [B] bool and text_mask [B, K] bool tell what a record has; label [B] int32, -1 for none; in
training source [B] int32, the number of the source in `InputPipeline.sources`; in evaluation key [B] string. What is
missing is zeros under a False mask.
"""

from collections.abc import Sequence

import gin
import tensorflow as tf

from mmv_tf import record_stream as streams
from mmv_tf import records, shards
from mmv_tf.audio import LogMel
from mmv_tf.record_stream import explain_data_error  # noqa: F401  (for users of the pipeline)
from mmv_tf.sources import Source, distinct_names, split_batch, spread
from mmv_tf.text import Tokenizer
from mmv_tf.video import VideoInput

MODALITIES = ("video", "audio", "text")


@gin.configurable
class InputPipeline:
    """Records to batches. Making one touches no file of records.

    Args:
      sources: what to train on; each batch holds every source in proportion to its weight. `source_names` has a name
        for each, all different.
      modalities: of 'video', 'audio', 'text': which of them a batch holds.
      video, audio, text: a VideoInput, LogMel and Tokenizer; made with their gin settings if None.
      max_candidates: K, how many narrations a record gives, those nearest in time first.
      readers: shards that are read side by side, over all hosts.
      shuffle_window: records that a reader permutes among themselves, at most ...
      shuffle_bytes: ... so many that all readers together hold about this much.

    Raises:
      ValueError: unknown modality; two sources of one name; or a setting of the parts is wrong.
    """

    def __init__(
        self,
        sources: Sequence[Source] = (),
        modalities: Sequence[str] = MODALITIES,
        video: VideoInput | None = None,
        audio: LogMel | None = None,
        text: Tokenizer | None = None,
        max_candidates: int = 5,
        readers: int = 16,
        shuffle_window: int = 256,
        shuffle_bytes: float = 2**30,
    ):
        for modality in modalities:
            if modality not in MODALITIES:
                known = ", ".join(map(repr, MODALITIES))
                raise ValueError(f"InputPipeline.modalities has {modality!r}, which is unknown; there are {known}.")
        self.sources, self.modalities = tuple(sources), tuple(m for m in MODALITIES if m in modalities)
        self.source_names = distinct_names(self.sources)
        self.video = video or VideoInput()  # also says which span of time a clip is, so it is always there
        self.audio = audio or (LogMel() if "audio" in modalities else None)
        self.text = text or (Tokenizer() if "text" in modalities else None)
        self.max_candidates, self.readers = max_candidates, readers
        self.shuffle_window, self.shuffle_bytes = shuffle_window, shuffle_bytes

    @property
    def num_samples(self) -> int:
        """Samples of sound in a clip."""
        return round(self.video.seconds * self.audio.sample_rate)

    @tf.autograph.experimental.do_not_convert  # nothing needs it, and it takes most of the time to build
    def training_dataset(
        self,
        global_batch_size: int,
        seed: int = 0,
        start_step: int = 0,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        """Endless batches for training, as `strategy.distribute_datasets_from_function` wants them.

        The global batch of a step holds the same clips, augmented in the same way, whatever the number of hosts and
        replicas, and whether the run was resumed (several hosts: if each source's part of the batch is a multiple of
        their number; else the parts are rounded host by host).

        Args:
          global_batch_size: clips a step, over all replicas.
          seed: of order and augmentation.
          start_step: the step that the first batch is for.
          input_context: which host this is; None is the only one, with one replica.
        Returns:
          dataset of batches (without 'key') of global_batch_size / number of replicas.
        Raises:
          ValueError: no sources, no files, or a batch size that replicas or hosts cannot share.
        """
        context = input_context or tf.distribute.InputContext()
        hosts, replicas = context.num_input_pipelines, context.num_replicas_in_sync
        if global_batch_size % replicas or global_batch_size % hosts:
            raise ValueError(
                f"a batch of {global_batch_size} cannot be shared by {replicas} replicas on {hosts} hosts evenly"
            )
        raw = self._raw_training_dataset(global_batch_size // hosts, seed, start_step, context.input_pipeline_id, hosts)
        dataset = raw.map(self._training_example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return self._batches(dataset, global_batch_size // replicas, drop_remainder=True)

    def _raw_training_dataset(self, host_batch, seed, start_step, host, hosts):
        """(serialized, number of the source int32, seed [2] int64) of every example of this host, in order."""
        if not self.sources:
            raise ValueError("InputPipeline.sources is empty: bind at least one Source, with a pattern of records")
        counts = split_batch(host_batch, [source.weight for source in self.sources])
        datasets = []
        for index, (source, count) in enumerate(zip(self.sources, counts, strict=True)):
            if not count:
                raise ValueError(
                    f"the source {source.name!r} gets no place in a batch of {host_batch}: raise its Source.weight"
                )
            found = shards.find(source.pattern)
            readers = streams.num_readers(found, self.readers, hosts)
            window = streams.shuffle_window(found, readers, self.shuffle_window, self.shuffle_bytes)
            stream = streams.record_stream(
                found, seed + index, start_step * count * hosts, self.readers, window, host, hosts
            )
            number, base = tf.constant(index, tf.int32), tf.constant((seed << 16) + index, tf.int64)
            datasets.append(
                stream.map(lambda record, position, n=number, base=base: (record, n, tf.stack([base, position])))
            )
        if len(datasets) == 1:
            return datasets[0]
        choice = tf.data.Dataset.from_tensor_slices(tf.constant(spread(counts), tf.int64)).repeat()
        return tf.data.Dataset.choose_from_datasets(datasets, choice)

    @tf.autograph.experimental.do_not_convert  # nothing needs it, and it takes most of the time to build
    def evaluation_dataset(self, pattern, batch_size: int, num_clips: int = 1) -> tf.data.Dataset:
        """All records once, in the order of their files, without augmentation.

        Args:
          pattern: glob of shards, or several.
          batch_size: records in a batch; the last one may be smaller.
          num_clips: clips a record, evenly spaced over it; with one, the middle.
        Returns:
          dataset of batches with 'key'; the first dimension is records x num_clips, clips of a record side by side.
        Raises:
          ValueError: no file matches.
        """
        found = shards.find(pattern)
        counts = tf.constant(found.counts, tf.int64)
        files = tf.data.Dataset.from_tensor_slices((tf.constant(found.files), counts, tf.zeros_like(counts), counts))
        clips = files.flat_map(streams.read_shard).flat_map(
            lambda serialized: tf.data.Dataset.from_tensors(serialized).repeat(num_clips).enumerate()
        )
        dataset = clips.map(
            lambda clip, serialized: self._evaluation_example(serialized, clip, num_clips),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return self._batches(dataset, batch_size * num_clips)

    def zeros(self, batch_size: int) -> dict[str, tf.Tensor]:
        """A training batch of nothing, with the right shapes and types: to build a model with."""
        example = {
            "video": tf.zeros((batch_size, *self.video.shape), tf.uint8),
            "audio": tf.zeros([batch_size, self.num_samples if self.audio else 0]),
            "text": tf.fill([batch_size, self.max_candidates], ""),
            "video_mask": tf.ones([batch_size], tf.bool),
            "audio_mask": tf.ones([batch_size], tf.bool),
            "label": tf.fill([batch_size], -1),
            "source": tf.zeros([batch_size], tf.int32),
        }
        absent = set(MODALITIES) - set(self.modalities)
        return self._finish_batch({k: v for k, v in example.items() if k.removesuffix("_mask") not in absent})

    def element_spec(self, batch_size: int) -> dict[str, tf.TensorSpec]:
        """Shapes and types of a training batch."""
        return {name: tf.TensorSpec(value.shape, value.dtype) for name, value in self.zeros(batch_size).items()}

    def save_vocabulary(self, path: str) -> None:
        """Writes the vocabulary as a file, if text is a modality."""
        if "text" in self.modalities:
            self.text.save(path)

    def _training_example(self, serialized, source, seed):
        record = records.parse(serialized)
        start_seed, clip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        start = self.video.random_start(*self._stored(record), start_seed)
        example = self._example(record, start, lambda jpegs: self.video.training_clip(jpegs, clip_seed))
        return {**example, "source": source}

    def _evaluation_example(self, serialized, clip, num_clips):
        record = records.parse(serialized)
        start = self.video.spaced_starts(*self._stored(record), num_clips)[clip]
        return {**self._example(record, start, self.video.evaluation_clip), "key": record["key"]}

    def _stored(self, record):
        """Number of frames and frames a second of a record; as many as its sound would have if it has no frames."""
        frames = tf.size(record["video"])
        heard = tf.cast(
            tf.cast(tf.size(record["audio"]), tf.float32) / record["sample_rate"] * self.video.frame_rate, tf.int32
        )
        return tf.where(frames > 0, frames, heard), tf.where(frames > 0, record["frame_rate"], self.video.frame_rate)

    def _example(self, record, start, decode):
        """One clip of a record: frames from number `start`, and the sound of the same time."""
        frames, frame_rate = self._stored(record)
        example = {"label": tf.cast(tf.concat([record["label"], [-1]], axis=0)[0], tf.int32)}
        if "video" in self.modalities:
            example["video_mask"] = tf.size(record["video"]) > 0
            example["video"] = tf.cond(
                example["video_mask"],
                lambda: decode(self.video.sample(record["video"], frame_rate, start)),
                lambda: tf.zeros(self.video.shape, tf.uint8),
            )
        if "audio" in self.modalities:
            example["audio_mask"] = tf.size(record["audio"]) > 0
            example["audio"] = self._sound(record, start, tf.cast(frames, tf.float32) / frame_rate, frame_rate)
        if "text" in self.modalities:
            texts = record["text"][: self.max_candidates]
            texts = tf.pad(texts, [[0, self.max_candidates - tf.size(texts)]], constant_values="")
            example["text"] = tf.ensure_shape(texts, [self.max_candidates])
        return example

    def _sound(self, record, start, seconds, frame_rate):
        """The waveform [S] from the time of frame `start`; its span is that of the frames, with which it repeats."""
        rate = float(self.audio.sample_rate)
        wrong_rate = tf.strings.join(
            [
                streams.FAULT_MARK,
                "record ",
                record["key"],
                ": sound at ",
                tf.strings.as_string(record["sample_rate"], shortest=True),
            ]
            + [f" Hz, and LogMel.sample_rate is {rate:g}: preprocess with that rate, or change the setting"]
        )
        fits = (tf.size(record["audio"]) == 0) | (record["sample_rate"] == rate)
        with tf.control_dependencies([tf.debugging.Assert(fits, [wrong_rate])]):
            period = tf.maximum(tf.cast(tf.round(seconds * rate), tf.int32), 1)
        sound = record["audio"][:period]
        sound = tf.pad(sound, [[0, period - tf.size(sound)]])
        begin = tf.cast(tf.round(tf.cast(start, tf.float32) / frame_rate * rate), tf.int32)
        sound = tf.cond(
            begin + self.num_samples <= period,
            lambda: sound[begin : begin + self.num_samples],
            lambda: tf.gather(sound, (begin + tf.range(self.num_samples)) % period),
        )
        return tf.ensure_shape(sound, [self.num_samples])

    def _batches(self, dataset, batch_size, drop_remainder=False):
        dataset = dataset.batch(batch_size, drop_remainder=drop_remainder, num_parallel_calls=2, deterministic=True)
        # Frames wait as uint8, a quarter of what they are as float32.
        dataset = dataset.prefetch(2)
        dataset = dataset.map(self._finish_batch, num_parallel_calls=2, deterministic=True).prefetch(1)
        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.with_options(options)

    def _finish_batch(self, batch):
        """What is best done for a whole batch: frames to float32, sound to log-mel, text to word ids."""
        batch = dict(batch)
        if "video" in self.modalities:
            batch["video"] = self.video.to_float(batch["video"])
        if "audio" in self.modalities:
            # The log-mel of silence can be other than zero; what is missing is zeros.
            present = tf.cast(batch["audio_mask"], tf.float32)[:, None, None, None]
            batch["audio"] = self.audio(batch["audio"]) * present
        if "text" in self.modalities:
            batch["text"] = self.text(batch["text"])
            batch["text_mask"] = tf.reduce_any(batch["text"] > 0, axis=-1)
        return batch
