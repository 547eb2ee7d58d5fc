"""An index of the records of shards: where each begins, so that any of them can be read at once, and what they are.

Made once, from the 16 bytes around each record, and kept in memory, 8 bytes a record. Where that took long, as on a
remote or slow disk, it is kept beside the shards too, in a folder `.offsets`, if that can be written.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
import tqdm

from mmv_tf.common import files
from mmv_tf.common.identity import LENGTH
from mmv_tf.inputs.faults import Place
from mmv_tf.inputs.shards import Shards
from mmv_tf.records.tfrecord import FOOTER, HEADER, content_length

FOLDER = ".offsets"
LONG = 0.5  # seconds for a shard; what takes longer to make is kept
_VERSION = 2
_AT_ONCE = 32  # shards
_MANY = 1 << 20  # records, for which memory is not taken on trust


@dataclasses.dataclass(frozen=True)
class _Shard:
    """One shard: offsets int64 [count], -1 from record number `whole` on, for the reason `lost`."""

    offsets: np.ndarray
    size: int  # bytes
    identity: str  # see `identities`
    lost: str = ""
    whole: int = 0
    is_longer: bool = False  # than it should be


@dataclasses.dataclass(frozen=True)
class Index:
    """Where the records lie, of several `Shards` one after the other. Record i is the i-th of all of them.

    Attributes:
      files: paths, str [S].
      starts: int64 [S + 1], number of the first record of each shard, and of all records at the end.
      offsets: int64 [N], byte at which a record begins in its shard; -1 if nobody knows.
      lost: why not, for each shard; '' where all are known.
      problems: what is wrong with shards, a line each: those that cannot be read to the end ...
      longer: ... and those that hold more records than they should.
      bytes: of all shards.
      identities: of each shard: of the lengths and checksums of its records in their order. Names, folders and times
        have no part in it: records that were copied are the same, and records that were made anew under the same names
        are others.
    """

    files: tuple[str, ...]
    starts: np.ndarray
    offsets: np.ndarray
    lost: tuple[str, ...]
    problems: tuple[str, ...]
    longer: tuple[str, ...]
    bytes: int
    identities: tuple[str, ...]

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return self.offsets.nbytes + self.starts.nbytes

    def place(self, record: int) -> Place:
        """The shard of record i, and its number there."""
        shard = int(np.searchsorted(self.starts, record, side="right")) - 1
        first, end = self.starts[shard], self.starts[shard + 1]
        return Place(self.files[shard], int(record - first), int(end - first))


def index_of(parts: Sequence[Shards], known: dict) -> Index:
    """The index of shards.

    Args:
      parts: from `mmv_tf.inputs.shards.find`.
      known: what was found before in this process, which is added to; believed while size and time of a file are the
        same.
    Raises:
      tf.errors.OpError: a file is not there or cannot be read.
    """
    names = [file for part in parts for file in part.files]
    counts = [count for part in parts for count in part.counts]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda file, count: _find(file, count, known), names, counts)
        shards = list(tqdm.tqdm(found, "finding records", len(names), leave=False, delay=5, unit="shard"))
    problems, longer = [], []
    for file, count, shard in zip(names, counts, shards, strict=True):
        if shard.lost:
            problems.append(cannot_be_read(str(Place(file, shard.whole, count))))
        if shard.is_longer:
            longer.append(f"shard {file}: holds more than the {count} records that dataset.json says")
    return Index(
        files=tuple(names),
        starts=np.cumsum([0, *counts], dtype=np.int64),
        offsets=np.concatenate([shard.offsets for shard in shards]),
        lost=tuple(shard.lost for shard in shards),
        problems=tuple(problems),
        longer=tuple(longer),
        bytes=sum(shard.size for shard in shards),
        identities=tuple(shard.identity for shard in shards),
    )


def cannot_be_read(place):
    """The line about a record that is not whole; `place` as text, or a scalar string."""
    return (
        place
        + " cannot be read (corrupt, or the file is truncated or holds fewer than dataset.json says); preprocess again "
        "or take the shard away"
    )


def _find(file, count, known):
    mark = (_VERSION, *_size_and_time(file), count)
    if count > _MANY and count * (HEADER + FOOTER) > mark[1]:  # of a few, the one that is not there is named
        raise ValueError(
            f"shard {file}: dataset.json says that it holds {count} records, for which its {mark[1]} bytes are too few"
        )
    if known.get(file, (None, None))[0] == mark:
        return known[file][1]
    shard = _kept(file, mark)
    if shard is None:
        started = time.perf_counter()
        shard = _scan(file, mark[1], count)
        if time.perf_counter() - started > LONG and not shard.lost and not shard.is_longer:
            _keep(file, mark, shard)
    known[file] = mark, shard
    return shard


def _size_and_time(file):
    if _is_local(file) and os.path.exists(file):
        stat = os.stat(file)
        return stat.st_size, stat.st_mtime_ns
    stat = tf.io.gfile.stat(file)  # whose times are whole seconds
    return stat.length, stat.mtime_nsec


def _is_local(file):
    return "://" not in file


def _scan(file, size, count):
    """Goes from header to header. Local files are read 16 bytes at a time, which no buffer is to make more of: the
    checksum of a record and the header of the next."""
    offsets, digest = np.full(count, -1, np.int64), hashlib.sha256()
    position, between = 0, FOOTER + HEADER
    with opened(file) as (read, _):
        header = read(0, HEADER)
        for number in range(count):
            length, lost = content_length(header, size - position, number)
            if lost:
                digest.update(f"{number}: {lost}".encode())
                return _Shard(offsets, size, _short(digest), lost, number)
            offsets[number] = position
            around = read(position + HEADER + length, between)
            digest.update(length.to_bytes(8, "little") + around[:FOOTER])
            position, header = position + HEADER + length + FOOTER, around[FOOTER:]
    return _Shard(offsets, size, _short(digest), is_longer=position < size)


def _short(digest):
    return digest.hexdigest()[:LENGTH]


@contextlib.contextmanager
def opened(file: str):
    """An open file as (function of position and number of bytes -> bytes, size in bytes); what it reads is no more.

    Raises:
      OSError, tf.errors.OpError: it is not there or cannot be read.
    """
    if _is_local(file):
        number = os.open(file, os.O_RDONLY)
        try:
            yield lambda position, size: os.pread(number, size, position), os.fstat(number).st_size
        finally:
            os.close(number)
        return
    with tf.io.gfile.GFile(file, "rb") as remote:

        def read(position, size):
            remote.seek(position)
            return remote.read(size)

        yield read, remote.size()


def _path(file):
    folder, name = os.path.split(file)
    return os.path.join(folder, FOLDER, f"{name}.npy")


def _kept(file, mark):
    """What lies beside a shard, if it is of this shard as it is now."""
    try:
        with tf.io.gfile.GFile(_path(file), "rb") as stored:
            numbers = np.load(io.BytesIO(stored.read()), allow_pickle=False)
    except (tf.errors.OpError, ValueError, EOFError, OSError):
        return None
    if numbers.dtype != np.int64 or numbers.ndim != 1 or tuple(numbers[: len(mark)]) != mark:
        return None
    (_, size, _, count), numbers = mark, numbers[len(mark) :]
    offsets, identity = numbers[:count], numbers[count:].tobytes().hex()
    steps = np.diff([*offsets, size])
    if len(offsets) != count or len(identity) != LENGTH or offsets[0] != 0 or steps.min() < HEADER + FOOTER:
        return None
    return _Shard(offsets, size, identity)


def _keep(file, mark, shard):
    content = io.BytesIO()
    identity = np.frombuffer(bytes.fromhex(shard.identity), np.int64)
    np.save(content, np.concatenate([np.array(mark, np.int64), shard.offsets, identity]))
    try:
        tf.io.gfile.makedirs(os.path.dirname(_path(file)))
        files.write_bytes(_path(file), content.getvalue())
    except (tf.errors.OpError, OSError):  # a folder that only others may write: then it is made each time
        pass
