"""Faults of the data, each in one line that says where; and the records that a run may leave out."""

import atexit
import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import tensorflow as tf
import tqdm

from mmv_tf.common import files

FAULT_MARK = "data fault: "  # what `explain_data_error` looks for
_IDLE = 1.0  # seconds without a note, after which what reads ahead has filled its buffers
_PATIENCE = 60.0  # seconds that a process waits for that at its end


class Place(NamedTuple):
    """Where a record lies: the number-th (from 0) of the `count` records of a shard."""

    shard: str
    number: int
    count: int

    def __str__(self):
        return f"shard {self.shard}: record {self.number} of {self.count}"


def explain_data_error(error: Exception) -> str | None:
    """The one line that says which shard or record is at fault, if the input pipeline raised `error`, else None."""
    _, found, rest = str(error).partition(FAULT_MARK)
    return rest.partition("\n")[0].split("] [")[0].rstrip("]").strip() if found else None


def named_errors(dataset: Iterable) -> Iterator:
    """The batches of a dataset; what is wrong with a shard or record is a ValueError that names it."""
    try:
        yield from dataset
    except tf.errors.OpError as error:
        if fault := explain_data_error(error):
            raise ValueError(fault) from error
        raise


def reason(error: tf.errors.OpError) -> str:
    """What TensorFlow has to say about a record: its first line, without the names of ops, and not for ever."""
    line = explain_data_error(error) or error.message.partition("\n")[0]
    line = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", line)
    return " ".join("".join(c if c.isprintable() else "?" for c in line).split())[:200].rstrip(".")


class BadRecords:
    """The records that a process has left out, each of them counted once, however often it comes.

    Args:
      limit: how many there may be.
    """

    def __init__(self, limit: int):
        self._limit, self._found, self._lock, self._path = limit, {}, threading.Lock(), None
        self._under_way, self._last = 0, None  # notes, and when one began or ended

    def keep(self, path: str) -> None:
        """Takes over those of earlier sittings from a file, and writes it anew with each that is found.

        Raises:
          ValueError: they are too many already, or the file is none that this wrote.
        """
        self._path = path
        if not tf.io.gfile.exists(path):
            return
        try:
            for one in json.loads(files.read_text(path)):
                self._found[_number(one["source"], one["shard"], one["record"])] = one
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a list of bad records ({error}); delete it to count anew") from None
        if len(self._found) > self._limit:
            raise ValueError(
                f"{path}: {len(self._found)} bad records were left out or met before, and "
                f"InputPipeline.max_bad_records = {self._limit}: raise it, or mend the records and begin a new workdir"
            )

    @contextlib.contextmanager
    def noting(self):
        """Around a note that a thread of the input makes.

        The interpreter does not end before it: the thread could not go on then, and the process, which waits for its
        threads, would never end.
        """
        with self._lock:
            if self._last is None:
                atexit.register(self.wait)
            self._under_way, self._last = self._under_way + 1, time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._under_way, self._last = self._under_way - 1, time.monotonic()

    def wait(self, idle: float = _IDLE, most: float = _PATIENCE) -> None:
        """Waits until nothing has been noted for `idle` seconds, at most `most`: nobody takes more of the input."""
        end = time.monotonic() + most
        while time.monotonic() < end:
            with self._lock:
                if not self._under_way and (self._last is None or time.monotonic() - self._last > idle):
                    return
            time.sleep(0.05)

    def add(self, place: Place, source: str, key: str, reason: str) -> None:
        """Notes a record that is left out, and says so on stderr.

        Raises:
          ValueError: that is one too many; names it.
        """
        with self._lock:
            name = _number(source, place.shard, place.number)
            if name in self._found:
                return
            self._found[name] = dict(source=source, shard=place.shard, record=place.number, key=key, reason=reason)
            number = len(self._found)
            if self._path:
                files.write_text(self._path, json.dumps(list(self._found.values()), indent=1) + "\n")
        line = describe(place, source, key, reason)
        if number > self._limit:
            raise ValueError(
                f"{FAULT_MARK}{line}; it makes {number} bad records, and InputPipeline.max_bad_records = {self._limit}"
            )
        tqdm.tqdm.write(f"left out {line} (bad record {number} of at most {self._limit})", file=sys.stderr)

    def as_list(self) -> list[dict]:
        """A dict of 'source', 'shard', 'record' (its number), 'key' ('' if it cannot be read) and 'reason' for each."""
        with self._lock:
            return [dict(one) for one in self._found.values()]


def _number(source, shard, record):
    return source, os.path.basename(shard), record  # the folder may have been moved


def describe(place: Place, source: str, key: str, reason: str) -> str:
    """One line about a record that cannot be used."""
    called = f"key {key!r}, source {source!r}" if key else f"source {source!r}"
    return f"{place} ({called}) cannot be used: {reason}"
