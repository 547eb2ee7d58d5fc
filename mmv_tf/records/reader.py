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
        """The list under a key; [] when it is missing."""
        got_kind, got = features.get(key, (kind, []))
        if got_kind != kind and len(got):
            raise ValueError(f"{key} holds values of the wrong type")
        return got if got_kind == kind else []

    def many(key, kind):
        return [value for feature in lists.get(key, []) for value in values(key, kind, {key: feature})]

    def first(key, kind, default):
        return next(iter(values(key, kind)), default)

    def either(*lists_of_values):
        return next((some for some in lists_of_values if len(some)), [])

    waveform = None
    for key in ("WAVEFORM/feature/floats", "waveform/floats"):
        if key in lists and waveform is None:
            waveform = np.concatenate(
                [np.zeros(0, np.float32), *(values(key, FLOAT_LIST, {key: feature}) for feature in lists[key])]
            )
    return Stored(
        version=first("schema/version", INT64_LIST, None),
        key=either(values("example/id", BYTES_LIST), values("clip/media_id", BYTES_LIST), [b""])[0],
        path=either(values("clip/data_path", BYTES_LIST), values("video/filename", BYTES_LIST), [b""])[0],
        start=first("clip/start/timestamp", INT64_LIST, None),
        end=first("clip/end/timestamp", INT64_LIST, None),
        jpegs=many("image/encoded", BYTES_LIST),
        picture_times=many("image/timestamp", INT64_LIST),
        frame_rate=float(first("image/frame_rate", FLOAT_LIST, DEFAULT_FRAME_RATE)),
        height=first("image/height", INT64_LIST, 0),
        width=first("image/width", INT64_LIST, 0),
        waveform=waveform,
        sample_rate=float(first("WAVEFORM/feature/sample_rate", FLOAT_LIST, DEFAULT_SAMPLE_RATE)),
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
