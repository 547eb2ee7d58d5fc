"""The record schema: every feature key, dtype and shape of one stored clip, written and parsed here only.

A record is a `tf.train.SequenceExample` with the keys of DMVR and MediaSequence, so that the readers of DMVR, VATT and
Scenic read ours and this module reads theirs. Keys that only we write: `schema/version` and the times of the captions.

| where | key | type, unit |
|---|---|---|
| context | schema/version | int64 |
| context | example/id | bytes, the key of the record, unique in its dataset |
| context | clip/data_path, video/filename | bytes, path of the source relative to its root (MediaSequence, DMVR) |
| context | clip/media_id | bytes, the same as example/id |
| context | clip/start/timestamp, clip/end/timestamp | int64, microseconds from the start of the source |
| context | clip/label/index, clip/label/text, clip/label/string | int64, bytes lists (text in DMVR, string elsewhere) |
| context | caption/string | bytes list, nearest in time first |
| context | caption/start/timestamp, caption/end/timestamp | int64 lists, microseconds from the start of the source |
| context | image/format, image/frame_rate, image/height, image/width, image/channels | bytes, float Hz, int64 pixels |
| context | WAVEFORM/feature/sample_rate, .../num_channels, .../num_samples | float Hz, int64 |
| feature list | image/encoded, image/timestamp | a JPEG and an int64 (microseconds from the source start) a frame |
| feature list | WAVEFORM/feature/floats | ONE feature that holds the whole mono waveform, float32 in [-1, 1] |

What a clip lacks (frames, sound, captions, labels) is simply not written.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from mmv_tf.records import wire

SCHEMA_VERSION = 1

# What a record of another tool means when it does not say: the conventions of DMVR's writer.
DEFAULT_FRAME_RATE = 10.0
DEFAULT_SAMPLE_RATE = 48000.0

_MICROSECONDS = 1_000_000


class Caption(NamedTuple):
    """A narration; times are seconds from the start of the source video."""

    text: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """One clip. Times are seconds from the start of the source video."""

    key: str  # stable and unique in the dataset
    video_path: str  # relative to the root of the videos
    start: float
    end: float
    jpegs: tuple[bytes, ...] = ()
    frame_rate: float = DEFAULT_FRAME_RATE  # Hz
    height: int = 0  # pixels; 0 without frames
    width: int = 0
    waveform: np.ndarray | None = None  # float32 [S] in [-1, 1], mono
    sample_rate: int = 48000  # Hz
    captions: tuple[Caption, ...] = ()  # nearest in time first
    labels: tuple[tuple[int, str], ...] = ()  # (index, text)


def _microseconds(seconds):
    return round(seconds * _MICROSECONDS)


def encode(record):
    """Serialises a Record as a tf.train.SequenceExample; the same record gives the same bytes. Needs no TensorFlow.

    Raises:
      ValueError: for a waveform that is not finite, one-dimensional float32; names the record.
    """
    context = {
        "schema/version": wire.int64_feature([SCHEMA_VERSION]),
        "example/id": wire.bytes_feature([record.key]),
        "clip/media_id": wire.bytes_feature([record.key]),
        "clip/data_path": wire.bytes_feature([record.video_path]),
        "video/filename": wire.bytes_feature([record.video_path]),
        "clip/start/timestamp": wire.int64_feature([_microseconds(record.start)]),
        "clip/end/timestamp": wire.int64_feature([_microseconds(record.end)]),
    }
    lists = {}
    if record.jpegs:
        times = [_microseconds(record.start + i / record.frame_rate) for i in range(len(record.jpegs))]
        lists["image/encoded"] = [wire.bytes_feature([jpeg]) for jpeg in record.jpegs]
        lists["image/timestamp"] = [wire.int64_feature([time]) for time in times]
        context["image/format"] = wire.bytes_feature(["JPEG"])
        context["image/frame_rate"] = wire.float_feature([record.frame_rate])
        context["image/height"] = wire.int64_feature([record.height])
        context["image/width"] = wire.int64_feature([record.width])
        context["image/channels"] = wire.int64_feature([3])
    if record.waveform is not None:
        waveform = np.asarray(record.waveform)
        if waveform.dtype != np.float32 or waveform.ndim != 1 or not np.isfinite(waveform).all():
            raise ValueError(
                f"record {record.key!r}: the waveform must be finite float32 of shape [samples], not "
                f"{waveform.dtype} of shape {list(waveform.shape)}"
            )
        lists["WAVEFORM/feature/floats"] = [wire.float_feature(waveform)]
        context["WAVEFORM/feature/sample_rate"] = wire.float_feature([record.sample_rate])
        context["WAVEFORM/feature/num_channels"] = wire.int64_feature([1])
        context["WAVEFORM/feature/num_samples"] = wire.int64_feature([len(waveform)])
    if record.captions:
        context["caption/string"] = wire.bytes_feature([caption.text for caption in record.captions])
        context["caption/start/timestamp"] = wire.int64_feature([_microseconds(c.start) for c in record.captions])
        context["caption/end/timestamp"] = wire.int64_feature([_microseconds(c.end) for c in record.captions])
    if record.labels:
        names = wire.bytes_feature([text for _, text in record.labels])
        context["clip/label/index"] = wire.int64_feature([index for index, _ in record.labels])
        context["clip/label/text"] = names
        context["clip/label/string"] = names
    return wire.sequence_example(context, lists)


def parse(serialized, parts=("video", "audio")):
    """Parses one record, ours or one that DMVR, VATT or Scenic wrote, inside or outside a tf.data map.

    Args:
      serialized: scalar string tensor, a tf.train.SequenceExample.
      parts: which of 'video' and 'audio', in which nearly all bytes are, are looked at; another one is empty.
    Returns:
      dict: 'key' [] string; 'video' [T] string (JPEGs; T may be 0); 'frame_rate' [] float32 Hz; 'audio' [S] float32
      (S may be 0); 'sample_rate' [] float32 Hz; 'text' [K] string (K may be 0), 'text_start' and 'text_end' [K]
      float32 seconds ([0] when not stored); 'label' [L] int64; 'label_name' [L'] string (L' may be 0 though L is not,
      in records of other tools); 'start', 'end' [] float32 seconds. Missing keys give empty tensors or the defaults
      above.
    Raises:
      tf.errors.InvalidArgumentError: not a SequenceExample, or of a newer schema than this code knows.
    """
    import tensorflow as tf

    scalar, many, samples = tf.io.FixedLenFeature, tf.io.VarLenFeature, tf.io.RaggedFeature(tf.float32)
    frames = {"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)}
    sound = {"WAVEFORM/feature/floats": samples, "waveform/floats": samples}
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        context_features={
            "schema/version": scalar([], tf.int64, 0),
            "example/id": scalar([], tf.string, ""),
            "clip/media_id": scalar([], tf.string, ""),
            "clip/start/timestamp": scalar([], tf.int64, 0),
            "clip/end/timestamp": scalar([], tf.int64, 0),
            "image/frame_rate": scalar([], tf.float32, DEFAULT_FRAME_RATE),
            "WAVEFORM/feature/sample_rate": scalar([], tf.float32, DEFAULT_SAMPLE_RATE),
            "caption/string": many(tf.string),
            "caption/start/timestamp": many(tf.int64),
            "caption/end/timestamp": many(tf.int64),
            "clip/label/index": many(tf.int64),
            "clip/label/text": many(tf.string),
            "clip/label/string": many(tf.string),
            "label/index": many(tf.int64),
            "label/text": many(tf.string),
        },
        sequence_features=(frames if "video" in parts else {}) | (sound if "audio" in parts else {}),
    )
    message = f"record of a newer schema/version than {SCHEMA_VERSION}: update mmv_tf, or preprocess again"
    tf.debugging.Assert(context["schema/version"] <= SCHEMA_VERSION, [message])

    values = {key: value.values for key, value in context.items() if isinstance(value, tf.SparseTensor)}

    def either(a, b):
        """`a`, or `b` where `a` is empty: the same thing under two names. Few numbers: a branch costs more."""
        return tf.concat([a, b[: tf.where(tf.size(a) > 0, 0, tf.size(b))]], axis=0)

    def samples_of(a, b):
        """The same without a copy."""
        return tf.cond(tf.size(a) > 0, lambda: a, lambda: b)

    def seconds(microseconds):
        return tf.cast(tf.cast(microseconds, tf.float64) / _MICROSECONDS, tf.float32)

    key = context["example/id"]
    return {
        "key": tf.where(tf.equal(key, ""), context["clip/media_id"], key),
        "video": lists.get("image/encoded", tf.zeros([0], tf.string)),
        "frame_rate": context["image/frame_rate"],
        # One feature with all samples (ours, DMVR) and one sample a feature flatten alike. Ragged, not sparse: that
        # writes two numbers of 64 bits beside each sample.
        "audio": samples_of(*(lists[name].flat_values for name in sound)) if "audio" in parts else tf.zeros([0]),
        "sample_rate": context["WAVEFORM/feature/sample_rate"],
        "text": values["caption/string"],
        "text_start": seconds(values["caption/start/timestamp"]),
        "text_end": seconds(values["caption/end/timestamp"]),
        "label": either(values["clip/label/index"], values["label/index"]),
        "label_name": either(values["clip/label/text"], either(values["clip/label/string"], values["label/text"])),
        "start": seconds(context["clip/start/timestamp"]),
        "end": seconds(context["clip/end/timestamp"]),
    }


MAX_CHARACTERS = 1000  # a caption
MAX_SECONDS = 1e7  # of a time in a source: none is longer, and float32 has no more to say
