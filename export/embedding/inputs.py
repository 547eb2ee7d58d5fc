"""The ways into the embedding job: records, videos or pictures; each gives units of work, and reads them.

A unit is a few kilobytes that travel to a worker; reading it gives serialised records one by one, whatever it was.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.decoding.image_worker import SUFFIXES
from mmv_tf.beam.decoding.picture import HEIC
from mmv_tf.beam.remarks import Remarks
from mmv_tf.beam.sources import source_files
from mmv_tf.beam.sources.folder import from_folder
from mmv_tf.beam.sources.paths import unusable_name
from mmv_tf.beam.specs import Rejection, Settings
from mmv_tf.records import schema
from mmv_tf.records.card import Reason, Remark
from mmv_tf.records.naming import clip_key

RECORDS_A_UNIT, IMAGES_A_UNIT = 64, 64
# What can be embedded from each way in, and what is unless signatures are named.
OFFERED = {
    "records": ("video", "audio", "text", "image"),
    "videos": ("video", "audio", "image"),
    "images": ("image", "video"),
}
BY_DEFAULT = {"records": ("video", "audio", "text"), "videos": ("video", "audio"), "images": ("image",)}


class Read(NamedTuple):
    """A record that was read, and where it comes from; or, without content, why there is none."""

    path: str
    name: str  # of the clip or record in it, as dead_letters.jsonl calls it
    serialized: bytes | None
    rejection: Rejection | None = None


def rejected(path: str, name: str, reason: Reason, detail: str) -> Read:
    return Read(path, name, None, Rejection(path, name, reason.value, detail))


class RecordReader:
    """Units (shard, its number of records, begin, end): a damaged record is rejected, the others are read."""

    has_times = True

    def __init__(self):
        self.remarks = Remarks()  # on what was read since a reader was asked
        self.remarked = {}  # path -> {code of a remark: how many}

    def open(self):
        """Called once on a worker."""

    def close(self):
        """Called at its end."""

    def read(self, unit) -> Iterator[Read]:
        import tensorflow as tf

        from mmv_tf.inputs.faults import FAULT_MARK, reason
        from mmv_tf.inputs.shards import read_what_can_be_read

        shard, count, begin, end = unit
        number, mark = begin, FAULT_MARK.encode()
        try:
            for content in read_what_can_be_read(shard, count, begin, end).as_numpy_iterator():
                if content.startswith(mark):
                    why = content.removeprefix(mark).decode(errors="replace")
                    yield rejected(shard, f"record {number}", Reason.DECODE_ERROR, why)
                else:
                    yield Read(shard, f"record {number}", content)
                number += 1
        except tf.errors.OpError as error:
            yield rejected(shard, f"record {number}", Reason.DECODE_ERROR, reason(error))


def record_units(pattern: str) -> tuple[list, list[Rejection]]:
    """Units of the shards that a pattern means. ValueError: nothing matches."""
    from mmv_tf.inputs import shards

    found = shards.find(pattern)
    units = []
    for file, count in zip(found.files, found.counts, strict=True):
        begins = range(0, count, RECORDS_A_UNIT)
        units += [(file, count, begin, min(begin + RECORDS_A_UNIT, count)) for begin in begins]
    return units, []


class FileReader:
    """Units (path, ...), relative to a root: each file is decoded in a child process, with its limits.

    Args:
      root: folder.
      settings: of the decoding.
      client: DecodeClient, or ImageClient for pictures.
      has_times: whether the times of what is read mean something.
    """

    def __init__(self, root: str, settings: Settings, client: type[DecodeClient] = DecodeClient, has_times=True):
        self.has_times = has_times
        self._root, self._settings, self._client_class, self._client = root, settings, client, None
        self.remarks, self.remarked = Remarks(), {}

    def open(self):
        self._client = self._client_class(self._settings)

    def close(self):
        if self._client is not None:
            self._client.close()

    def read(self, unit) -> Iterator[Read]:
        for path in unit:
            yield from self._read_file(path)

    def _read_file(self, path):
        try:
            with source_files.opened(self._root, path, self._settings.max_file_bytes) as found:
                yield from self._decode(path, found.file)
        except source_files.Refused as error:
            yield rejected(path, "", error.reason, str(error))

    def _decode(self, path, file):
        pieces = {0: (0, 0.0, None)}
        try:
            for header, blobs in self._client.ask(file, [(0.0, None)]):
                if "plan" in header:
                    pieces = {number: tuple(piece) for number, piece in enumerate(header["plan"])}
                    if header["truncated"]:
                        key = clip_key(path, *header["truncated"])
                        what = "the header states a longer source than there is data"
                        yield rejected(path, key, Reason.TRUNCATED, what)
                    continue
                for kind, detail, number in header.get("remarks", ()):
                    self.remarks.add(Remark(kind), str(detail)[:200], int(number), path)
                    of_path = self.remarked.setdefault(path, {})
                    of_path[kind] = of_path.get(kind, 0) + int(number)
                _, start, end = pieces.pop(header["piece"])
                if "reason" in header:
                    yield rejected(path, clip_key(path, start, end), Reason(header["reason"]), header["detail"])
                    continue
                record = self._record(path, start, header, blobs)
                yield Read(path, clip_key(path, start, end), schema.encode(record))
        except Failure as failure:
            for _, start, end in pieces.values():
                yield rejected(path, clip_key(path, start, end), failure.reason, str(failure))

    def _record(self, path, start, header, blobs):
        import numpy as np

        frames = header["frames"]
        return schema.Record(
            key=path,
            video_path=path,
            start=start,
            end=float(header["end"]),
            jpegs=tuple(blobs[:frames]),
            frame_rate=self._settings.frame_rate,
            height=int(header["height"]),
            width=int(header["width"]),
            waveform=np.frombuffer(blobs[frames], "<f4") if len(blobs) > frames else None,
            sample_rate=self._settings.sample_rate,
        )


def video_paths(root: str, remarks: Remarks) -> tuple[list[str], list[Rejection]]:
    """Videos and sounds, and what is rejected already. ValueError: no folder, or nothing in it."""
    inputs = from_folder(root, with_captions=False)
    paths = [source.path for source in inputs.sources]
    remarks.take(inputs.remarks.numbers, inputs.remarks.lines)
    return paths, inputs.rejections


def units_of(paths: list[str], number: int) -> list[tuple[str, ...]]:
    """Units of so many files each."""
    return [tuple(paths[i : i + number]) for i in range(0, len(paths), number)]


def image_paths(root: str, remarks: Remarks) -> tuple[list[str], list[Rejection]]:
    """Pictures, found by the endings of their names, recursively, and what is rejected already.

    Raises:
      ValueError: no folder, or no picture in it.
    """
    if not os.path.isdir(root):
        raise ValueError(f"--images {root}: not a folder")
    paths, rejections = [], []
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for path in (pathlib.Path(folder, name) for name in names):
            suffix, path = path.suffix.lower(), path.relative_to(root).as_posix()
            if suffix not in SUFFIXES:
                advice = ": HEIC needs pip install 'mmv_tf[heic]'" if suffix in HEIC else ""
                remarks.add(Remark.IGNORED_FILE, f"{suffix}: no picture that can be read{advice}", path=path)
            elif why := unusable_name(path):
                rejections.append(why)
            else:
                paths.append(path)
    if not paths and not rejections:
        raise ValueError(f"--images {root}: no picture in it (looked for {' '.join(sorted(SUFFIXES))})")
    return sorted(paths), rejections
