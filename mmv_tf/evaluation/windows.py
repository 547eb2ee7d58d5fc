"""Records to the windows that an evaluation looks at: several a record, evenly spaced, or random ones to train on."""

import dataclasses
import functools
import types

import tensorflow as tf

from mmv_tf.inputs import labels
from mmv_tf.inputs.clip import ClipMaker, drawn_order
from mmv_tf.inputs.shards import Shards, frame_sizes, read_shard
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema

# How far colours are changed where a protocol asks for it.
_COLOURS = {"brightness": 32 / 255, "saturation": 0.4, "contrast": 0.4, "hue": 0.2}
# A protocol says itself what it does to frames: what the configuration of a run says is not asked.
_NOT_OF_THE_RUN = {
    **_COLOURS,
    "crop_aspect": (3 / 4, 4 / 3),
    "max_side": 0,
    "crop_only": False,
    "colour_order": "together",
    "grey_probability": 0.0,
    "blur_probability": 0.0,
    "blur_sigma": (0.1, 2.0),
    "solarise_probability": 0.0,
}
_SOUND_RATE = 100.0  # windows of sound begin at multiples of 1 / 100 s


def whole_shards(found) -> list[tuple[str, int, int, int]]:
    """All records of `shards.Shards`, as `Windows.dataset` takes them."""
    return [(file, count, 0, count) for file, count in zip(found.files, found.counts, strict=True)]


@functools.lru_cache(maxsize=32)
def _traced(windows: "Windows"):
    signature = [tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)]
    return tf.function(windows._function(), input_signature=signature, autograph=False)


@functools.lru_cache(maxsize=32)
def _finisher(windows: "Windows"):
    video = windows._video()

    def finish(inputs, present):
        frames = video.unboxed(inputs, present)
        return frames[:, 0] if windows.modality == "image" else frames

    return tf.function(finish, autograph=False)


@dataclasses.dataclass(frozen=True)
class Windows:
    """Which windows of a record are looked at, and how. Two that are equal give the same windows of the same records.

    Attributes:
      modality: 'video' [T,H,W,3] uint8, 'image' [H,W,3] uint8 (one frame a window), 'audio' [S] float32 waveform,
        'text' string (window i is the record's i-th caption; of more than `count` some are drawn, see
        `mmv_tf.inputs.clip.drawn_order`).
      count: windows a record.
      random: each at a random time, with a random crop and flip, a pure function of seed, key and number; otherwise
        evenly spaced over the record (one: its middle) with the central crop.
      num_frames, frame_rate: of a window of video; a stride of 2 in records of 25 frames/s is a rate of 12.5.
      min_side, crop_size: pixels, as in VideoInput.
      flip_probability, scale_jitter, colour_probability: of random windows, as in VideoInput; 0 is none of it. How far
        colours are changed is the same for all runs: the defaults of VideoInput.
      crop_area, crop_aspect: of random windows, as in VideoInput; None is crops that are jittered in scale instead.
      crops: of each window of video that is not random: 1, the centre, or 3 along the longer side, each of which is a
        window of its own (`VideoInput.evaluation_crops`).
      seconds, sample_rate: of a window of sound.
      sample_stride: one sample in so many of it is kept (2: every second one), as they are, without a filter.
      box: height and width of the boxes in which an accelerator gets frames to `finish`; None: the host finishes them.
      seed: of random windows.
    """

    modality: str
    count: int = 1
    random: bool = False
    num_frames: int = 1
    frame_rate: float = 10.0
    min_side: int = 224
    crop_size: int = 224
    flip_probability: float = 0.0
    scale_jitter: float = 0.0
    colour_probability: float = 0.0
    seconds: float = 1.0
    sample_rate: int = 48000
    seed: int = 0
    crops: int = 1
    sample_stride: int = 1
    crop_area: tuple[float, float] | None = None
    crop_aspect: tuple[float, float] | None = None
    box: tuple[int, int] | None = None

    def __post_init__(self):
        if self.count < 1:
            raise ValueError(f"an evaluation needs at least 1 window a record, not {self.count}")
        if self.modality == "audio" and not round(self.seconds * _SOUND_RATE):
            raise ValueError(f"a window of sound of {self.seconds} seconds is too short: give at least 0.01")
        if self.crops != 1 and (self.random or self.modality != "video"):
            raise ValueError("only windows of video that are not random can have several crops")

    @property
    def views(self) -> int:
        """How many inputs of a network a record is: the crops of all windows."""
        return self.count * self.crops

    def settings(self) -> dict:
        """All that says which windows these are, for the key of what is made of them and kept."""
        # What keys of earlier versions did not name stands in them where it acts.
        later = {"crops": 1, "sample_stride": 1, "crop_area": None, "crop_aspect": None, "box": None}
        told = {name: value for name, value in dataclasses.asdict(self).items() if later.get(name) != value}
        # Earlier versions took these of the run, and kept windows that differ under one key.
        return told | (_COLOURS if self.random and self.colour_probability else {})

    @classmethod
    def as_in(cls, protocol, modality: str, count: int, random: bool = False, **more) -> "Windows":
        """The windows of a protocol: all that it has under the names of the attributes above."""
        names = {field.name for field in dataclasses.fields(cls)} - {"modality", "count", "random", "crops"} - set(more)
        own = {name: getattr(protocol, name) for name in names if hasattr(protocol, name)}
        return cls(modality, count, random, **own, **more)

    @tf.autograph.experimental.do_not_convert  # nothing needs it, and it takes most of the time to build
    def dataset(self, ranges) -> tf.data.Dataset:
        """The windows of some records, in the order of the records, `views` for each, a window's crops in a row.

        Args:
          ranges: list of (file, records that the file should hold, first record, record after the last one).
        Returns:
          dataset of dicts: 'input'; 'present' bool, whether the record has it ('input' is zeros or '' if not); 'key'
          and 'labels' string, the labels as `mmv_tf.inputs.labels` joins them; of text it is the captions, `count` at
          most. With a box 'input' is a dict, what `finish` takes.
        """
        files, counts, begins, ends = zip(*ranges, strict=True)
        numbers = [tf.constant(values, tf.int64) for values in (counts, begins, ends)]
        stored = tf.data.Dataset.from_tensor_slices((tf.constant(files), *numbers)).flat_map(read_shard).prefetch(2)
        window = self.function()

        def numbered(serialized):
            return tf.data.Dataset.from_tensors(serialized).repeat(self.count).enumerate()

        found = stored.flat_map(numbered).map(window, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return found.unbatch() if self.crops > 1 else found

    def function(self):
        """The function (number of the window, serialized record) -> element of `dataset`; one trace for all seeds.

        With several crops it is all of a window's, one after the other: 'input' [crops, T,H,W,3], and so the others.
        """
        traced = _traced(self._unseeded)
        return lambda number, serialized: traced(number, serialized, tf.constant(self.seed, tf.int64))

    def _function(self):
        cut = self._text if self.modality == "text" else self._clip(self.make_clips())

        def window(number, serialized, seed):
            record = schema.parse(serialized)
            if self.modality == "text":
                record["text"] = self._drawn(record)
            value, present = cut(number, serialized, record, seed)
            joined = labels.joined(record)
            if self.modality == "text":
                joined = tf.strings.reduce_join(record["text"], separator=labels.SEPARATOR)
            beside = {"present": present, "key": record["key"], "labels": joined}
            if self.crops > 1:
                beside = {name: tf.repeat(one, self.crops) for name, one in beside.items()}
            return {"input": value, **beside}

        return window

    def boxed(self, found: Shards) -> "Windows":
        """These windows of the records of some shards, for an accelerator to `finish`. What has no frames is as it is.

        The box fits all windows of the frames of some records, or at random ones nearly all; the host finishes others.
        """
        if self.modality not in ("video", "image"):
            return self
        box = self._video().box_for(frame_sizes(found), draws=256 if self.random else 0)
        return dataclasses.replace(self, box=box)

    def finish(self, inputs, present) -> tf.Tensor:
        """A batch of 'input' as networks take it; the rest of the work on windows with a `box`, wherever it is done.

        Args:
          inputs, present: of a batch of `dataset`; present bool [B].
        Returns:
          the inputs as they are without a box, or such as those but for rounding.
        """
        return _finisher(self._unseeded)(inputs, present) if self.box else inputs

    @property
    def _unseeded(self):
        """What is traced: the seed is an argument."""
        return dataclasses.replace(self, seed=0)

    def _video(self) -> VideoInput:
        if self.modality == "audio":
            frames, rate = round(self.seconds * _SOUND_RATE), _SOUND_RATE
        else:
            frames, rate = self.num_frames, self.frame_rate
        return VideoInput(
            num_frames=frames,
            frame_rate=rate,
            min_side=self.min_side,
            crop_size=self.crop_size,
            scale_jitter=self.scale_jitter,
            scale_jitter_probability=float(self.scale_jitter > 0),
            flip_probability=self.flip_probability,
            colour_probability=self.colour_probability,
            crop_area=self.crop_area,
            **_NOT_OF_THE_RUN | ({"crop_aspect": self.crop_aspect} if self.crop_aspect else {}),
        )

    def make_clips(self) -> ClipMaker:
        """What cuts the windows of frames or sound."""
        if self.modality == "audio":
            return ClipMaker(["audio"], self._video(), types.SimpleNamespace(sample_rate=self.sample_rate), 1)
        return ClipMaker(["video"], self._video(), None, 1, boxes={"video": self.box} if self.box else None)

    def _clip(self, clips: ClipMaker):
        kind = "audio" if self.modality == "audio" else "video"

        def cut(number, serialized, record, seed):
            if self.random:
                # By the key, not by the place of the record: folds that share a clip see the same windows of it.
                seed = tf.stack([seed, tf.strings.to_hash_bucket_fast(record["key"], 2**62)])
                seed = tf.random.experimental.stateless_fold_in(seed, number)
                example = clips.training(serialized, tf.constant(0), seed)
            else:
                example = clips.evaluation(serialized, tf.cast(number, tf.int32), self.count, self.crops, self.box)
            present = example[f"{kind}_mask"]
            if self.box:
                parts = {name.removeprefix(kind): part for name, part in example.items() if name.startswith(kind)}
                return {part: value for part, value in parts.items() if part != "_mask"}, present
            value = example[kind]
            if self.modality == "image":
                value = value[0]
            elif self.modality == "audio" and self.sample_stride > 1:
                value = value[:: self.sample_stride]
            return value, present

        return cut

    def _drawn(self, record):
        texts = tf.boolean_mask(record["text"], record["text"] != "")  # which is no caption, and no label either
        drawn = tf.gather(texts, drawn_order(record["key"], texts)[: self.count])
        return tf.where(tf.size(texts) > self.count, drawn, texts[: self.count])

    def _text(self, number, serialized, record, seed):
        texts = tf.concat([record["text"], [""]], axis=0)
        number = tf.minimum(tf.cast(number, tf.int32), tf.size(record["text"]))
        return texts[number], number < tf.size(record["text"])
