"""A reader of records without TensorFlow: what `schema.parse` does, for workers and tools that must start at once.

The wire form of a tf.train.SequenceExample is decoded here directly; tests compare with TensorFlow's own parser. The
keys are those of `records.schema`. Content is bounded by the size of the message: a hostile one is an error, no more.
"""

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from mmv_tf.records import tfrecord
from mmv_tf.records.schema import DEFAULT_FRAME_RATE, DEFAULT_SAMPLE_RATE
from mmv_tf.records.wire import BYTES_LIST, FLOAT_LIST, INT64_LIST, read_sequence_example


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """One record as it is stored. Times are microseconds from the start of the source; None: not stored."""

    version: int | None  # schema/version; other tools write none
    key: bytes
    path: bytes  # of the source
    start: int | None
    end: int | None
    jpegs: list[bytes]
    picture_times: list[int]
    frame_rate: float  # Hz
    height: int  # pixels; 0 when not stored
    width: int
    waveform: np.ndarray | None  # float32 [S]
    sample_rate: float  # Hz
    captions: list[bytes]
    caption_starts: list[int]
    caption_ends: list[int]
    labels: list[int]
    label_names: list[bytes]


def parse(data: bytes) -> Stored:
    """The record of a serialised tf.train.SequenceExample, ours or that of DMVR, VATT, Scenic or MediaSequence.

    Raises:
      ValueError: not such a message, or a key with values of another type; says which.
    """
    context, lists = read_sequence_example(data)

    def values(key, kind, features=context):
        """The list under a key; [] when it is missing or without a type."""
        got_kind, got = features.get(key, (None, []))
        if got_kind not in (kind, None):
            raise ValueError(f"{key} holds values of the wrong type")
        return got

    def one(key, kind, default, features=context):
        """The only value under a key, which is there with just that or not at all: training reads no other."""
        if key not in features:
            return default
        if len(got := values(key, kind, features)) != 1:
            raise ValueError(f"{key} holds {len(got)} values, not one")
        return got[0]

    def unread(key, kind, features=context):
        """The list under a key that training does not look at: one of another type is no fault."""
        return features[key][1] if key in features and features[key][0] == kind else []

    def either(*lists_of_values):
        return next((some for some in lists_of_values if len(some)), [])

    waveforms = [
        np.concatenate([np.zeros(0, np.float32), *(values(key, FLOAT_LIST, {key: feature}) for feature in lists[key])])
        for key in ("WAVEFORM/feature/floats", "waveform/floats")
        if key in lists
    ]
    key, media_id = (one(name, BYTES_LIST, b"") for name in ("example/id", "clip/media_id"))
    return Stored(
        version=one("schema/version", INT64_LIST, None),
        key=key or media_id,
        path=either(unread("clip/data_path", BYTES_LIST), unread("video/filename", BYTES_LIST), [b""])[0],
        start=one("clip/start/timestamp", INT64_LIST, None),
        end=one("clip/end/timestamp", INT64_LIST, None),
        jpegs=[
            one("image/encoded", BYTES_LIST, b"", {"image/encoded": feature})
            for feature in lists.get("image/encoded", [])
        ],
        picture_times=[
            time
            for feature in lists.get("image/timestamp", [])
            for time in unread("image/timestamp", INT64_LIST, {"image/timestamp": feature})
        ],
        frame_rate=float(one("image/frame_rate", FLOAT_LIST, DEFAULT_FRAME_RATE)),
        height=next(iter(unread("image/height", INT64_LIST)), 0),
        width=next(iter(unread("image/width", INT64_LIST)), 0),
        waveform=next((some for some in waveforms if len(some)), waveforms[0] if waveforms else None),
        sample_rate=float(one("WAVEFORM/feature/sample_rate", FLOAT_LIST, DEFAULT_SAMPLE_RATE)),
        captions=values("caption/string", BYTES_LIST),
        caption_starts=values("caption/start/timestamp", INT64_LIST),
        caption_ends=values("caption/end/timestamp", INT64_LIST),
        labels=either(values("clip/label/index", INT64_LIST), values("label/index", INT64_LIST)),
        label_names=either(
            values("clip/label/text", BYTES_LIST),  # DMVR's
            values("clip/label/string", BYTES_LIST),  # MediaSequence's
            values("label/text", BYTES_LIST),  # VATT's
        ),
    )


def read(file: BinaryIO, size: int) -> Iterator[tuple[int, Stored | None, int, str | None]]:
    """The records of an open shard of `size` bytes: (number, record, bytes of its content, None).

    Of one that cannot be read it is (number, None, 0, what is wrong); see `tfrecord.read`.
    """
    for number, (content, problem) in enumerate(tfrecord.read(file, size)):
        if content is not None:
            try:
                yield number, parse(content), len(content), None
                continue
            except ValueError as error:
                problem = f"record {number}: {error}"
        yield number, None, 0, problem
