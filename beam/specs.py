"""The words of the preprocessing: sources with the clips wanted from them, settings, and rejections.

Every way in (a folder, a manifest, the annotation files of a dataset) ends in `Inputs`: a stream of `Source` and a list
of `Rejection`; nothing behind it knows where they came from.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from mmv_tf.beam.remarks import Remarks
from mmv_tf.records.schema import SCHEMA_VERSION, Caption

# The most that an option of a command may ask for: timers and limits of the system take no number.
MOST = {"timeout_seconds": 1_000_000, "max_memory_mb": 1 << 24}


class ClipSpec(NamedTuple):
    """A clip that is wanted. Seconds from the start of the source; without an end, all of it, cut into pieces.

    A caption without times (None) is about the whole clip.
    """

    start: float = 0.0
    end: float | None = None
    captions: tuple[Caption, ...] = ()
    labels: tuple[str, ...] = ()


def joined(clips):
    """One ClipSpec of several, with the span of the first.

    Captions and labels are there once, in an order that does not depend on that of the clips.
    """
    captions = {caption for clip in clips for caption in clip.captions}
    captions = sorted(captions, key=lambda c: (-1 if c.start is None else c.start, c.end or 0, c.text))
    labels = sorted({label for clip in clips for label in clip.labels})
    return clips[0]._replace(captions=tuple(captions), labels=tuple(labels))


class Source(NamedTuple):
    """One file and the clips wanted from it, sorted by time: it is opened once and decoded forward once."""

    path: str  # relative to the root, with forward slashes
    clips: tuple[ClipSpec, ...]
    kind: str = "video"  # a key of decode_source.KINDS: "video" (also sound alone), "image", "tfds"


class Rejection(NamedTuple):
    """One line of dead_letters.jsonl."""

    path: str
    key: str  # of the clip; '' when the whole source or row is meant
    reason: str  # value of a Reason
    detail: str


@dataclasses.dataclass
class Inputs:
    """What there is to do. The sources are read once, one by one: a dataset need not fit into memory.

    Everything but `sources` is complete only when they have been read to the end.
    """

    sources: Iterable[Source]  # in an order that depends on the content of the input alone; each path once
    rejections: list[Rejection] = dataclasses.field(default_factory=list)  # known without opening a source
    remarks: Remarks = dataclasses.field(default_factory=Remarks)  # on what was mended or left out
    labels: tuple[str, ...] = ()  # in the order of their ids, where the dataset fixes them; else they are sorted
    rows: int = 0  # of a manifest


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the records look like, and what a source may cost. All of it shapes the output."""

    frame_rate: float = 10.0  # Hz
    short_side: int = 256  # pixels; smaller pictures are not enlarged
    sample_rate: int = 48000  # Hz
    jpeg_quality: int = 85  # half the bytes and 1.5 times the reading speed of 95
    clip_seconds: float = 10.0  # length of the pieces of a source that is wanted whole
    max_captions: int = 5  # a clip
    max_caption_gap: float = 10.0  # seconds between a clip and the farthest caption that it gets
    # Limits.
    timeout_seconds: float = 60.0  # without a finished clip
    max_file_bytes: int = 16 << 30
    max_memory_bytes: int = 2 << 30  # address space of the decoding process
    max_pixels: int = 8192 * 4320  # of a picture
    max_source_seconds: float = 6 * 3600.0
    max_clip_seconds: float = 600.0
    max_long_side: int = 2048  # pixels of a picture in the records, where it is not 8 times short_side at most
    max_clip_bytes: int = 256 << 20  # pictures and sound of one record, which are in memory several times
    max_records_bytes: int = 64 << 30  # of all clips of a source: those of a manifest may overlap

    def too_long(self, height, width):
        """What is wrong with the size of a picture in the records, or None."""
        most = max(self.max_long_side, 8 * self.short_side)
        if max(height, width) <= most:
            return None
        return f"a picture would be {width:.0f}x{height:.0f} pixels, and its long side at most {most}"

    def fingerprint(self, *more):
        """Hex digest of everything that shapes the records of a source: equal digests, equal bytes."""
        import av

        content = [dataclasses.asdict(self), SCHEMA_VERSION, av.__version__, *more]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
