"""Reads records without TensorFlow: what `records.parse` does, for workers and tools that must start at once.

The wire form of a tf.train.SequenceExample is decoded here directly; tests compare with TensorFlow's own parser. The
keys are those of `records.schema`. Content is bounded by the size of the message: a hostile one is an error, no more.
"""

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from mmv_tf.records import tfrecord
from mmv_tf.records.schema import DEFAULT_FRAME_RATE, DEFAULT_SAMPLE_RATE

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf
_LABEL_NAMES = ("clip/label/text", "clip/label/string", "label/text")  # DMVR's, MediaSequence's, VATT's
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # field numbers in tf.train.Feature


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
    context, lists = sequence_example(data)

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
                [np.zeros(0, np.float32), *(values(key, _FLOAT_LIST, {key: feature}) for feature in lists[key])]
            )
    return Stored(
        version=first("schema/version", _INT64_LIST, None),
        key=either(values("example/id", _BYTES_LIST), values("clip/media_id", _BYTES_LIST), [b""])[0],
        path=either(values("clip/data_path", _BYTES_LIST), values("video/filename", _BYTES_LIST), [b""])[0],
        start=first("clip/start/timestamp", _INT64_LIST, None),
        end=first("clip/end/timestamp", _INT64_LIST, None),
        jpegs=many("image/encoded", _BYTES_LIST),
        picture_times=many("image/timestamp", _INT64_LIST),
        frame_rate=float(first("image/frame_rate", _FLOAT_LIST, DEFAULT_FRAME_RATE)),
        height=first("image/height", _INT64_LIST, 0),
        width=first("image/width", _INT64_LIST, 0),
        waveform=waveform,
        sample_rate=float(first("WAVEFORM/feature/sample_rate", _FLOAT_LIST, DEFAULT_SAMPLE_RATE)),
        captions=values("caption/string", _BYTES_LIST),
        caption_starts=values("caption/start/timestamp", _INT64_LIST),
        caption_ends=values("caption/end/timestamp", _INT64_LIST),
        labels=either(values("clip/label/index", _INT64_LIST), values("label/index", _INT64_LIST)),
        label_names=either(
            *(values(key, _BYTES_LIST) for key in ("clip/label/text", "clip/label/string", "label/text"))
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


def sequence_example(data: bytes) -> tuple[dict, dict]:
    """({key: feature}, {key: [feature, ...]}) of context and feature lists; a feature is (kind, list or array).

    Raises:
      ValueError: not a tf.train.SequenceExample.
    """
    context, lists = {}, {}
    for number, part in _messages(memoryview(data)):
        if number == 1:
            context.update((key, _feature(value)) for key, value in _entries(part))
        elif number == 2:
            for key, value in _entries(part):
                lists[key] = [_feature(feature) for n, feature in _messages(value) if n == 1]
    return context, lists


def _entries(part: memoryview) -> Iterator[tuple[str, memoryview]]:
    """The entries of a map from text to message."""
    for number, entry in _messages(part):
        if number == 1:
            fields = dict(_messages(entry))
            yield bytes(fields.get(1, b"")).decode("utf-8", "replace"), fields.get(2, memoryview(b""))


def _feature(part: memoryview):
    kind, values = _BYTES_LIST, []
    for kind, content in _messages(part):
        if kind == _BYTES_LIST:
            values = [bytes(value) for number, value in _messages(content) if number == 1]
        elif kind == _FLOAT_LIST:
            pieces = [value for number, wire, value in _fields(content) if number == 1 and wire in (_BYTES, _FIXED32)]
            if any(len(piece) % 4 for piece in pieces):
                raise ValueError("a list of floats is cut off")
            pieces = [np.frombuffer(piece, "<f4") for piece in pieces]
            values = pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.float32), *pieces])
        elif kind == _INT64_LIST:
            values = []
            for number, wire, value in _fields(content):
                if number == 1 and wire == _BYTES:
                    position = 0
                    while position < len(value):
                        one, position = _varint(value, position)
                        values.append(_signed(one))
                elif number == 1 and wire == _VARINT:
                    values.append(_signed(value))
    return kind, values


def _messages(part: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, content) of the length-delimited fields."""
    return ((number, value) for number, wire, value in _fields(part) if wire == _BYTES)


def _fields(part: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """(field number, wire type, value) of every field of a message."""
    position, size = 0, len(part)
    while position < size:
        tag = part[position]
        # Nearly all numbers here are of one byte: a call for each would be felt.
        tag, position = (tag, position + 1) if tag < 0x80 else _varint(part, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(part, position)
            yield number, wire, value
            continue
        if wire == _BYTES:
            length = part[position] if position < size else 0x80
            length, position = (length, position + 1) if length < 0x80 else _varint(part, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("not a tf.train.SequenceExample")
        if length > size - position:
            raise ValueError("not a tf.train.SequenceExample, or cut off")
        yield number, wire, part[position : position + length]
        position += length


def _varint(part: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(part):
            break
        byte = part[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("not a tf.train.SequenceExample, or cut off")


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
