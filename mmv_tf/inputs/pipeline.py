"""Files of records to batches: a dict of tensors (docs/design.md section 5), resumable by clip number.

    read and mix (examples) -> one clip of each record (clip) -> batches, as networks take them (here)

The batch: video [B, T, H, W, 3] float32 in [0, 1]; audio [B, T', M, 1] float32 log-mel (or the waveform [B, S]); text
[B, K, W] int32 word ids; video_mask, audio_mask [B] bool and text_mask [B, K] bool tell what a record has; label [B]
int32, -1 for none; in training source [B] int32, the number of the source in `InputPipeline.sources`, and under its
name each view, as its modality is, with its mask; in evaluation key [B] string. What is missing is zeros under a False
mask. Where something is kept of each record (`numbers_records`), index [B] int32 is the number of a clip's record among
those of all sources, one source after the other, each in the order of its files.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

import gin
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, Positive, Written
from mmv_tf.inputs import contents, notes, shards
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.augmentation.sound import SoundAugment, check_masks
from mmv_tf.inputs.clip import ClipMaker
from mmv_tf.inputs.examples import TrainingExamples
from mmv_tf.inputs.faults import BadRecords
from mmv_tf.inputs.mixture import Source, distinct_names
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.inputs.video import VideoInput
from mmv_tf.inputs.views.view import View, in_order

Modality = Literal["video", "audio", "text"]
MODALITIES = get_args(Modality)
WHO_DOES_WHAT = {
    False: "all of it is made by the host",
    True: "the host reads, decodes and cuts frames; the accelerator does the rest",
}
_BATCHES_AHEAD = 8  # of the step that is running; more than what the stages below and tf.distribute hold ready


@configurable
class InputPipeline:
    """Records to batches. Making one touches no file of records.

    Attributes:
      is_finished: whether batches are what networks take, or want `finish` (see `boxed`).

    Args:
      sources: what to train on; each has its share of the clips, by weight: exactly over the run, and in a batch to
        within two clips or so. `source_names` has a name for each, all different.
      modalities: of 'video', 'audio', 'text': which of them a batch holds.
      video, audio, text: a VideoInput, LogMel (or another front end, such as Waveform) and Tokenizer; made with their
        gin settings if None.
      sound: a SoundAugment: what is changed of the sound of training clips; None is nothing.
      views: {name: View}, or what a View is made of, ('video', {'time': @anywhere()}): further inputs of the modalities
        in training (see `mmv_tf.inputs.views.view`).
      max_candidates: K, how many narrations a clip has: those nearest in time.
      readers: records that are read side by side, on each host.
      order: 'epochs': each record of a source once before any comes again; 'independent': each clip of a batch is of a
        record drawn by itself, evenly from all of the source, as memories of few records need (docs/systems.md).
      shuffle_window: 0: each epoch is a permutation of all records of a source. Else about so many records are permuted
        among themselves, runs of neighbours from all over the source: for file systems that read ahead, since what
        is read at one time then lies in few places. Clips then come together again more often ...
      shuffle_bytes: ... and it is at most as many as take up so many bytes (None: no bound). No memory is needed.
      finish_on: where frames are resized and augmented and the spectrogram is made, in training: on the 'host', or by
        the 'accelerator', which leaves reading, decoding and cutting to the host; 'auto' is the accelerator where there
        is one. Both give the same batches but for rounding (`mmv_tf.inputs.augmentation.boxes`). It also says who
        resizes frames in evaluation and in the embedding of records.
      max_bad_records: records that a run may leave out, on each host and over all its sittings, because they cannot be
        read or decoded. Each is logged, and in its place comes an example that lacks everything, so that all others
        stay where they are. One more stops the run; so does the first with 0. Evaluation leaves out none.

    Raises:
      ValueError: unknown modality; a view that nothing can be made of; two sources of one name; or a setting of the
        parts is wrong.
    """

    is_finished = True

    def __init__(
        self,
        sources: Sequence[Source] = (),
        modalities: Sequence[Modality] = MODALITIES,
        video: VideoInput | None = None,
        audio: LogMel | None = None,
        text: Tokenizer | None = None,
        max_candidates: Count = 5,
        readers: Count = 16,
        shuffle_window: CountOrNone = 0,
        shuffle_bytes: Positive | None = None,
        max_bad_records: CountOrNone = 0,
        sound: SoundAugment | None = None,
        views: Mapping[str, Annotated[View, Written()]] | None = None,
        finish_on: Literal["auto", "host", "accelerator"] = "auto",
        order: Literal["epochs", "independent"] = "epochs",
    ):
        if shuffle_window and order == "independent":
            raise ValueError(
                f"InputPipeline.shuffle_window = {shuffle_window} permutes records of an epoch, and there is none with "
                "InputPipeline.order = 'independent': set one of them"
            )
        self.sources, self.modalities = tuple(sources), tuple(m for m in MODALITIES if m in modalities)
        self.source_names = distinct_names(self.sources)
        self.video = video or VideoInput()  # also says which span of time a clip is, so it is always there
        self.audio = audio or (LogMel() if "audio" in modalities else None)
        self.text = text or (Tokenizer() if "text" in modalities else None)
        self.max_candidates, self.readers = max_candidates, readers
        self.order, self.shuffle_window, self.shuffle_bytes = order, shuffle_window, shuffle_bytes
        self.max_bad_records, self._bad_records = max_bad_records, BadRecords(max_bad_records)
        self.numbers_records = False  # whether a training batch has an 'index'; who needs it sets it
        self._known_shards: dict = {}
        self.sound, self.views = sound, in_order(views or {}, self.modalities, self.audio)
        check_masks(sound, self.audio)
        for view in (view for view in self.views.values() if view.of == "audio"):
            check_masks(view.sound or sound, view.audio or self.audio)
        self.finish_on = finish_on
        self.boxes: dict[str, tuple[int, int]] = {}
        self.clips = self._clip_maker()

    def _clip_maker(self):
        made_of = (self.modalities, self.video, self.audio, self.max_candidates, self.views, self.sound)
        return ClipMaker(*made_of, boxes=self.boxes)

    def finishes_on_accelerator(self, is_there: bool) -> bool:
        """Whether a run finishes its batches on an accelerator, which is there or not (`finish_on`)."""
        return is_finished_there(self.finish_on, is_there)

    @tf.autograph.experimental.do_not_convert
    def boxed(self) -> "InputPipeline":
        """This pipeline with batches that are not finished: `finish` makes of them what networks take.

        For accelerators. Boxes are as large as the training frames of some records ask for.

        Raises:
          ValueError: no sources, or no files.
        """
        made, records = copy.copy(self), self._training_examples(1).records(go_on=True).take(16)
        sizes = shards.sizes_of(content for content, *_ in records)
        videos = {"video": self.video} if "video" in self.modalities else {}
        videos |= {name: view.video or self.video for name, view in self.views.items() if view.of == "video"}
        made.boxes = {name: video.box_for(sizes) for name, video in videos.items()}
        made.is_finished, made.clips = False, made._clip_maker()
        return made

    @property
    def num_samples(self) -> int:
        """Samples of sound in a clip."""
        return self.clips.num_samples

    @tf.autograph.experimental.do_not_convert  # nothing needs it, and it takes most of the time to build
    def training_dataset(
        self,
        global_batch_size: int,
        seed: int = 0,
        start_step: int = 0,
        input_context: tf.distribute.InputContext | None = None,
        start_clip: int | None = None,
    ) -> tf.data.Dataset:
        """Endless batches for training, as `strategy.distribute_datasets_from_function` wants them.

        The global batch of a step holds the same clips, augmented in the same way, whatever the number of hosts and
        replicas, and whether the run was resumed; so does each replica's part of it.

        Args:
          global_batch_size: clips a step, over all replicas.
          seed: of order and augmentation.
          start_step: the step that the first batch is for, if all before it were as large as this.
          input_context: which host this is; None is the only one, with one replica.
          start_clip: how many clips of the stream, over all hosts, were used before; start_step * global_batch_size
            if None.
        Returns:
          dataset of batches (without 'key') of global_batch_size / number of replicas.
        Raises:
          ValueError: no sources, no files, or a batch size that replicas or hosts cannot share.
        """
        replicas = input_context.num_replicas_in_sync if input_context else 1
        start = start_step * global_batch_size if start_clip is None else start_clip
        examples = self._training_examples(global_batch_size, seed, start, input_context).examples()
        return self._batches(examples, global_batch_size // replicas, training=True)

    @tf.autograph.experimental.do_not_convert
    def find_fault(
        self,
        global_batch_size: int,
        seed: int,
        start_step: int,
        num_steps: int,
        input_context: tf.distribute.InputContext | None = None,
        start_clip: int | None = None,
    ) -> str | None:
        """Looks for the first bad record of this host in the batches of some steps, and a few that are made ahead.

        For errors that do not say which record they are about, such as those of decoding a JPEG. Arguments as in
        `training_dataset`; start_step also says how the steps are counted in the line.

        Returns:
          one line that names step, shard, record, key and reason; None if there is no bad record.
        """
        start = start_step * global_batch_size if start_clip is None else start_clip
        examples = self._training_examples(global_batch_size, seed, start, input_context)
        found = examples.find_fault((num_steps + _BATCHES_AHEAD) * examples.batch)
        if not found:
            return None
        number, line = found
        return (
            f"the batch after step {start_step + number // examples.batch}: {line}; preprocess again, take the shard "
            "away, or say with InputPipeline.max_bad_records how many bad records may be left out"
        )

    @tf.autograph.experimental.do_not_convert
    def keys_of_step(
        self, global_batch_size: int, seed: int, step: int, start_clip: int | None = None
    ) -> list[tuple[str, str, bool]]:
        """(name of the source, key, whether some input is NaN or Inf) of each clip in the batch after `step`.

        That batch begins at `start_clip`, or after `step` batches of this size if it is None.
        """
        start = step * global_batch_size if start_clip is None else start_clip
        examples, clips = self._training_examples(global_batch_size, seed, start).examples(), []
        for batch in examples.take(global_batch_size).batch(8).map(self._finish_batch):
            bad = tf.zeros_like(batch["source"], tf.bool)
            for value in (value for value in batch.values() if value.dtype.is_floating):
                bad |= tf.reduce_any(~tf.math.is_finite(value), axis=range(1, value.shape.rank))
            for source, key, is_bad in zip(batch["source"].numpy(), batch["key"].numpy(), bad.numpy(), strict=True):
                clips.append((self.source_names[source], key.decode(errors="replace"), bool(is_bad)))
        return clips

    @property
    def bad_records(self) -> list[dict]:
        """The records that this process has left out: see `mmv_tf.inputs.faults.BadRecords.as_list`."""
        return self._bad_records.as_list()

    def training_contents(self, global_batch_size: int) -> list[contents.Contents]:
        """What the records of each source are: see `mmv_tf.inputs.contents`. Raises as `training_notes` does."""
        examples = self._training_examples(global_batch_size)
        return contents.of_sources(self.source_names, examples.found, examples.index)

    def keep_bad_records(self, path: str) -> None:
        """Keeps the records that are left out in a file, so that the bound holds over all sittings of a run.

        Raises:
          ValueError: more are in it than max_bad_records allows, or it is none that this wrote.
        """
        if self.max_bad_records:
            self._bad_records.keep(path)

    def training_notes(self, global_batch_size: int) -> list[str]:
        """What a run with such batches should say of its data at the start: see `mmv_tf.inputs.notes`.

        Raises:
          ValueError: no sources, or no files.
        """
        return notes.lines(self._training_examples(global_batch_size))

    def who_does_what(self) -> str:
        """A line about what the host does for a training batch, and what an accelerator."""
        setting = f"InputPipeline.finish_on = '{self.finish_on}'"
        if self.is_finished:
            return f"input: {WHO_DOES_WHAT[False]} ({setting})"
        made_of = [
            (name, (self.views[name].video if name in self.views else None) or self.video) for name in self.boxes
        ]
        sizes = [
            f"{name} {video.num_frames} x {self.boxes[name][0]} x {self.boxes[name][1]}" for name, video in made_of
        ]
        frames = f", decodes and cuts frames (boxes of {', '.join(sizes)} pixels)" if sizes else ""
        return f"input: the host reads{frames}; the accelerator does the rest ({setting})"

    def _training_examples(self, global_batch_size, seed=0, start=0, input_context=None):
        context = input_context or tf.distribute.InputContext()
        hosts, replicas = context.num_input_pipelines, context.num_replicas_in_sync
        if global_batch_size % replicas or global_batch_size % hosts:
            raise ValueError(
                f"a batch of {global_batch_size} cannot be shared by {replicas} replicas on {hosts} hosts evenly"
            )
        return TrainingExamples(
            sources=self.sources,
            names=self.source_names,
            clips=self.clips,
            batch=global_batch_size // hosts,
            seed=seed,
            start=start,
            host=context.input_pipeline_id,
            hosts=hosts,
            readers=self.readers,
            window=self.shuffle_window,
            window_bytes=self.shuffle_bytes,
            bad_records=self._bad_records if self.max_bad_records else None,
            known=self._known_shards,
            numbered=self.numbers_records,
            independent=self.order == "independent",
        )

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
        records = shards.slices(shards.find(pattern)).flat_map(shards.read_shard)
        clips = records.flat_map(
            lambda serialized: tf.data.Dataset.from_tensors(serialized).repeat(num_clips).enumerate()
        )
        dataset = clips.map(
            lambda clip, serialized: self.clips.evaluation(serialized, clip, num_clips),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return self._batches(dataset, batch_size * num_clips, training=False)

    @tf.autograph.experimental.do_not_convert
    def every_training_record(self, global_batch_size: int, batch_size: int) -> tf.data.Dataset:
        """All training records once, in the order of their numbers, as `evaluation_dataset` has records: its batches.

        A record that a run leaves out (max_bad_records) lacks everything; it is not counted here.

        Args:
          global_batch_size: of the run.
          batch_size: records in a batch; the last one may be smaller.
        """
        return self._batches(self._training_examples(global_batch_size).each_record(), batch_size, training=False)

    def zeros(self, batch_size: int) -> dict[str, tf.Tensor]:
        """A training batch of nothing, with the right shapes and types: to build a model with."""
        example = {
            "video": tf.zeros((batch_size, *self.video.shape), tf.uint8),
            "audio": tf.zeros([batch_size, self.num_samples]),
            "text": tf.fill([batch_size, self.max_candidates], ""),
            "video_mask": tf.ones([batch_size], tf.bool),
            "audio_mask": tf.ones([batch_size], tf.bool),
            "label": tf.fill([batch_size], -1),
            "source": tf.zeros([batch_size], tf.int32),
            **({"index": tf.zeros([batch_size], tf.int32)} if self.numbers_records else {}),
        }
        absent = set(MODALITIES) - set(self.modalities)
        for name, view in self.views.items():
            video = view.video or self.video
            shaped = {"video": (*video.shape,), "audio": (self.clips.samples_of(video),)}
            for part in ("", "_mask") if view.of != "text" else ("",):
                like = example[f"{view.of}{part}"]
                is_new = not part and view.of in shaped
                example[f"{name}{part}"] = tf.zeros((batch_size, *shaped[view.of]), like.dtype) if is_new else like
        return self._finish_batch({k: v for k, v in example.items() if k.removesuffix("_mask") not in absent})

    def element_spec(self, batch_size: int) -> dict[str, tf.TensorSpec]:
        """Shapes and types of a training batch."""
        return {name: tf.TensorSpec(value.shape, value.dtype) for name, value in self.zeros(batch_size).items()}

    def save_vocabulary(self, path: str) -> None:
        """Writes the vocabulary as a file, if text is a modality."""
        if "text" in self.modalities:
            self.text.save(path)

    def _batches(self, dataset, batch_size, training):
        def prepared(batch):
            if training:  # accelerators know no strings
                batch = {name: value for name, value in batch.items() if name not in ("key", "label_names")}
            return self._finish_batch(batch) if self.is_finished else self._with_words(batch)

        dataset = dataset.batch(batch_size, drop_remainder=training, num_parallel_calls=2, deterministic=True)
        # Frames wait as uint8, a quarter of what they are as float32.
        dataset = dataset.prefetch(2)
        dataset = dataset.map(prepared, num_parallel_calls=2, deterministic=True).prefetch(1)
        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.with_options(options)

    def _finish_batch(self, batch):
        return self.finish(self._with_words(batch))

    def _with_words(self, batch):
        """Texts to word ids, which only a host can do."""
        batch = dict(batch)
        views = [name for name, view in self.views.items() if view.of == "text" and name in batch]
        for name in (*(("text",) if "text" in self.modalities else ()), *views):
            batch[name] = self.text(batch[name])
            batch[f"{name}_mask"] = tf.reduce_any(batch[name] > 0, axis=-1)
        return batch

    def finish(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What is best done for a whole batch: frames to float32, sound to log-mel; and what boxes have left to do.

        Wherever the batch is: all sizes are static, and nothing is drawn.
        """
        batch = dict(batch)
        for name in (one for one in (*self.modalities, *self.views) if one in batch):  # in evaluation no view is
            view = self.views.get(name)
            if "video" in (name, view and view.of):
                video = view and view.video or self.video
                if name in self.boxes and f"{name}_place" in batch:
                    parts = (part for part in video.boxed_spec(self.boxes[name]) if f"{name}{part}" in batch)
                    boxed = {part: batch.pop(f"{name}{part}") for part in parts}  # in evaluation nothing is drawn
                    batch[name] = video.unboxed(boxed, batch[f"{name}_mask"])
                    if view and view.reverse:
                        batch[name] = tf.reverse(batch[name], [1])
                batch[name] = video.to_float(batch[name])
            elif "audio" in (name, view and view.of):
                batch[name] = self._spectrogram(
                    view, batch[name], batch[f"{name}_mask"], batch.pop(f"{name}_draw", None)
                )
        return batch

    def _spectrogram(self, view, waveform, mask, draw):
        """[B, S] -> [B, T', M, 1] (or [B, S]); `draw` [B, n] is what the augmentation drew, None for none."""
        augment, front_end = view and view.sound or self.sound, view and view.audio or self.audio
        if draw is not None:
            waveform = augment.change_volume(waveform, draw)
        spectrogram = front_end(waveform)
        if view and view.reverse:
            spectrogram = tf.reverse(spectrogram, [1])
        if draw is not None and augment.masks:
            spectrogram = augment.mask(spectrogram, draw)
        # The log-mel of silence can be other than zero; what is missing is zeros.
        return spectrogram * tf.reshape(tf.cast(mask, tf.float32), [-1, *[1] * (front_end.axes - 1)])


def is_finished_there(setting: str, is_there: bool) -> bool:
    """Whether an accelerator finishes batches, which is there or not, by `InputPipeline.finish_on`."""
    return setting == "accelerator" or (setting == "auto" and is_there)


def finish_on() -> str:
    """`InputPipeline.finish_on` of the parsed configuration. Needs no records and no vocabulary."""
    return _bound("InputPipeline.finish_on") or "auto"


def front_end() -> LogMel:
    """The front end of sound of the parsed configuration. Needs no records and no vocabulary."""
    return _bound("InputPipeline.audio") or LogMel()


def _bound(parameter: str):
    """What a parameter is bound to, None for nothing."""
    try:
        return copy.deepcopy(gin.query_parameter(parameter))  # by which gin makes what a reference stands for
    except ValueError:
        return None
