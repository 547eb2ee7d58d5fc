"""The sources of a run, written to files in the staging folder: workers read them from there.

So neither the job that is submitted nor the machine that submits it holds a list as long as the dataset. What travels
is a reference to a line: (file, offset, length).
"""

import json
from typing import NamedTuple

from apache_beam.io.filesystems import FileSystems

from mmv_tf.beam import storage
from mmv_tf.beam.specs import ClipSpec, Settings, Source
from mmv_tf.records.schema import Caption

SOURCES_PER_FILE = 256
_BYTES_PER_FILE = 1 << 20  # about; a bucket is read in large pieces, even for a line

# What a source counts for when nothing is known of its length but its kind, seconds.
_SECONDS = {"video": 120.0, "image": 0.1, "tfds": 100.0}

SECONDS_PER_SHARD = 3600.0  # about 1 GB with pictures and sound
MIN_SHARDS, MAX_SHARDS = 8, 16384


class Spool(NamedTuple):
    """What was written."""

    files: list[str]
    num_sources: int
    seconds: float  # of all clips; whole sources are guessed
    labels: set[str]

    @property
    def num_shards(self):
        """How many shards suit the amount: it depends on the input alone, never on the workers."""
        return min(MAX_SHARDS, max(MIN_SHARDS, round(self.seconds / SECONDS_PER_SHARD)))


def write(sources, staging, max_clip_seconds=Settings.max_clip_seconds):
    """Writes sources, read once and one by one, as lines of JSON.

    Args:
      max_clip_seconds: what a clip counts for at most: longer ones are rejected, and one wrong time is no reason for
        thousands of shards.
    Returns:
      Spool.
    """
    files, lines, size, number, seconds, labels = [], [], 0, 0, 0.0, set()

    def flush():
        files.append(FileSystems.join(staging, f"sources-{len(files):05d}.jsonl"))
        with storage.WholeFile(staging, files[-1]) as file:
            file.write(b"".join(lines))
        lines.clear()

    for source in sources:
        lines.append(json.dumps(source).encode() + b"\n")
        number, size = number + 1, size + len(lines[-1])
        seconds += _seconds(source, max_clip_seconds)
        labels.update(label for clip in source.clips for label in clip.labels)
        if len(lines) == SOURCES_PER_FILE or size > _BYTES_PER_FILE:
            flush()
            size = 0
    if lines:
        flush()
    return Spool(files, number, seconds, labels)


def _seconds(source, most):
    guess = _SECONDS[source.kind]
    clips = source.clips or (ClipSpec(),)
    return sum(guess if clip.end is None else min(most, clip.end - clip.start) for clip in clips)


def references(file):
    """Yields (file, offset, length) of each source in a file."""
    offset = 0
    with FileSystems.open(file, compression_type="uncompressed") as stream:
        for line in stream:
            yield file, offset, len(line)
            offset += len(line)


def read(file, offset, length):
    """The Source that a reference means."""
    path, clips, kind = json.loads(storage.read_range(file, offset, length))
    return Source(path, tuple(map(_clip, clips)), kind)


def _clip(fields):
    start, end, captions, labels = fields
    return ClipSpec(start, end, tuple(Caption(*caption) for caption in captions), tuple(labels))
