"""The checks of one record. Each finding is a phrase that follows the record's name."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmv_tf.inspection.folder import shown
from mmv_tf.pages import jpeg
from mmv_tf.records.card_checks import MAX_SAMPLE_RATE
from mmv_tf.records.reader import Stored
from mmv_tf.records.schema import MAX_CHARACTERS, SCHEMA_VERSION

_SLACK = 1e-5  # seconds: times are stored in microseconds
_MICROSECONDS = 1e6


class Expected(NamedTuple):
    """What dataset.json says of every record; None where it says nothing."""

    frame_rate: float | None = None
    sample_rate: float | None = None
    short_side: int | None = None
    max_captions: int | None = None
    label_map: dict[str, int] | None = None


def check(record: Stored, expected: Expected, decode: bool = False) -> Iterator[str]:
    """Yields what is wrong with a record; nothing for a good one.

    What only we write (times, version) is asked of our records alone, those with a schema/version.

    Args:
      decode: decode every JPEG, instead of looking at its beginning, its end and its size.
    """
    if not (record.key or record.jpegs or record.captions or record.labels) and record.waveform is None:
        yield "an empty record: no key, frames, sound or narration"
        return
    ours = record.version is not None
    if ours and not 1 <= record.version <= SCHEMA_VERSION:
        yield f"schema/version {record.version}; this version of mmv_tf knows 1 to {SCHEMA_VERSION}"
        return
    if ours and not record.key:
        yield "no key (example/id)"
    try:
        record.key.decode("utf-8")
    except UnicodeDecodeError:
        yield "the key is not valid UTF-8"
    yield from _span(record, expected, ours)
    yield from _pictures(record, expected, ours, decode)
    yield from _sound(record, expected, ours)
    yield from _captions(record, expected, ours)
    yield from _labels(record, expected)


def _span(record, expected, ours):
    frame = 1 / record.frame_rate if record.frame_rate > 0 else math.nan
    if not math.isfinite(frame):
        yield f"image/frame_rate is {record.frame_rate:g}"
        return
    pictures = len(record.jpegs) / record.frame_rate if record.jpegs else None
    has_sound = record.waveform is not None and record.sample_rate > 0
    sound = len(record.waveform) / record.sample_rate if has_sound else None
    still = len(record.jpegs) == 1 and sound is None  # a picture, which has no duration
    times = None not in (record.start, record.end)
    if ours and not times:
        yield "no start or no end"
    if times:
        span = (record.end - record.start) / _MICROSECONDS
        if record.start < 0 or span < 0 or span == 0 and not still:
            yield f"start {record.start / _MICROSECONDS:g} s, end {record.end / _MICROSECONDS:g} s"
            return
        for seconds, what in ((pictures, "frames"), (sound, "sound")):
            if seconds is not None and abs(seconds - span) > frame + _SLACK:
                yield f"{seconds:g} s of {what} in a span of {span:g} s"
    if pictures is not None and sound is not None and not still and abs(pictures - sound) > frame + _SLACK:
        yield f"{pictures:g} s of frames and {sound:g} s of sound"
    if ours and pictures is None and sound is None:
        yield "neither frames nor sound"
    if ours and expected.frame_rate and record.jpegs and abs(record.frame_rate - expected.frame_rate) > _SLACK:
        yield f"{record.frame_rate:g} frames/s; dataset.json says {expected.frame_rate:g}"


def _pictures(record, expected, ours, decode):
    if record.picture_times or ours:
        if len(record.picture_times) != len(record.jpegs):
            yield f"{len(record.jpegs)} frames and {len(record.picture_times)} times of frames"
        elif ours and record.start is not None and record.frame_rate > 0:
            grid = record.start + np.arange(len(record.jpegs)) * (_MICROSECONDS / record.frame_rate)
            if np.abs(np.array(record.picture_times, np.float64) - grid).max(initial=0) > 10:
                yield f"times of frames that are not {record.frame_rate:g} a second from its start"
    stated = (record.height, record.width) if record.height and record.width else None
    for number, data in enumerate(record.jpegs):
        try:
            size = jpeg.size(data)
            if decode and (got := jpeg.decode(data).shape[:2]) != size:
                yield f"frame {number} says {size[1]}x{size[0]} and holds {got[1]}x{got[0]}"
        except ValueError as error:
            yield f"frame {number} {error}"
            continue
        stated = stated or size
        if size != stated:
            yield f"frame {number} is {size[1]}x{size[0]}, not {stated[1]}x{stated[0]}"
            break
    if ours and stated and expected.short_side and min(stated) > expected.short_side:
        yield f"frames of {stated[1]}x{stated[0]}; dataset.json says at most {expected.short_side} on the short side"


def _sound(record, expected, ours):
    if record.waveform is None:
        return
    if not 0 < record.sample_rate <= MAX_SAMPLE_RATE:
        yield f"a sample rate of {record.sample_rate:g}"
    elif ours and expected.sample_rate and record.sample_rate != expected.sample_rate:
        yield f"sound at {record.sample_rate:g} Hz; dataset.json says {expected.sample_rate:g}"
    if not np.isfinite(record.waveform).all():
        yield "sound that is not finite"
    elif ours and np.abs(record.waveform).max(initial=0) > 1:
        yield f"sound beyond full scale ({np.abs(record.waveform).max():g})"


def _captions(record, expected, ours):
    for number, caption in enumerate(record.captions):
        try:
            text = caption.decode("utf-8")
        except UnicodeDecodeError as error:
            yield f"caption {number} is not valid UTF-8 (byte {error.start})"
            continue
        if ours and len(text) > MAX_CHARACTERS:
            yield f"caption {number} has {len(text)} characters, over {MAX_CHARACTERS}"
    times = record.caption_starts, record.caption_ends
    if ours and {len(some) for some in times} != {len(record.captions)}:
        yield f"{len(record.captions)} captions, {len(times[0])} starts and {len(times[1])} ends of captions"
    elif any(end < start for start, end in zip(*times, strict=False)):
        yield "a caption that ends before it starts"
    if ours and expected.max_captions is not None and len(record.captions) > expected.max_captions:
        yield f"{len(record.captions)} captions; dataset.json says at most {expected.max_captions}"


def _labels(record, expected):
    if len(record.label_names) not in (0, len(record.labels)):
        yield f"{len(record.labels)} labels and {len(record.label_names)} names of labels"
    elif expected.label_map is not None:
        indices = set(expected.label_map.values())
        for index, name in zip(record.labels, record.label_names or [None] * len(record.labels), strict=True):
            text = None if name is None else name.decode("utf-8", "replace")
            if index not in indices or text is not None and expected.label_map.get(text) != index:
                named = "" if text is None else f" ({shown(text, 60)})"
                yield f"label {index}{named} is not in the label map of dataset.json"
