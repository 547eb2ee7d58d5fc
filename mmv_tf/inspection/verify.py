"""The verification of a folder of records: every byte and every record, and then what dataset.json says of them."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import multiprocessing
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmv_tf.inspection import against_card, checks
from mmv_tf.inspection.folder import Folder, open_file, shown
from mmv_tf.records import reader, tfrecord
from mmv_tf.records.naming import ShardName, parse_shard_name, shard_of

MOST_PROBLEMS = 100  # of one shard that are told one by one


@dataclasses.dataclass
class Shard:
    """What was found in one shard. `hashes`: the first 8 bytes of the SHA-256 of each key, uint64."""

    name: str
    split: str
    sha256: str = ""
    bytes: int = 0
    records: int = 0
    counters: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    problems: list[str] = dataclasses.field(default_factory=list)
    more_problems: int = 0
    hashes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.uint64))

    def add(self, problem: str):
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more_problems += 1


class Found(NamedTuple):
    """The whole folder: its shards in order, and what is wrong, one line each."""

    shards: list[Shard]
    problems: list[str]


class _Task(NamedTuple):
    path: str
    name: str
    split: str
    place: ShardName | None  # with dataset.json: where the keys must be; None: not to be checked
    expected: checks.Expected
    decode: bool


def verify(folder: Folder, decode: bool = False, processes: int = 1) -> Found:
    """Checks a folder; tells how far it is on standard error.

    Args:
      decode: decode every JPEG.
      processes: that read shards side by side; memory is that of one record each, and 8 bytes a key.
    Raises:
      ValueError: there is nothing to check.
    """
    tasks = [_task(folder, name, split, decode) for name, split in folder.shards().items()]
    shards = run(check_shard, tasks, processes, "verify")
    problems = [] if folder.card is None else list(against_card.files(folder))
    for shard in shards:
        problems += [f"{shard.name}: {problem}" for problem in shard.problems]
        if shard.more_problems:
            problems.append(f"{shard.name}: and {shard.more_problems} more problems")
    problems += _repeated(folder, shards)
    if folder.card is not None:
        problems += against_card.contents(folder, shards)
    return Found(shards, problems)


def run(function, tasks: list, processes: int, what: str) -> list:
    """function(task) of each, in order, in several processes, with a bar on standard error.

    Raises:
      ValueError: a process was killed.
    """
    from tqdm import tqdm

    bar = tqdm(total=len(tasks), unit="shard", desc=what, file=sys.stderr, mininterval=0.5)
    with bar:
        if min(processes, len(tasks)) <= 1:
            done = []
            for task in tasks:
                done.append(function(task))
                bar.update()
            return done
        # Fresh processes: a fork of one with threads may hang.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
            futures = [pool.submit(function, task) for task in tasks]
            for _ in concurrent.futures.as_completed(futures):
                bar.update()
            try:
                return [future.result() for future in futures]
            except concurrent.futures.BrokenExecutor:
                raise ValueError("a process that read shards was killed; is there memory? try --processes 1") from None


def expected(folder: Folder, split: str) -> checks.Expected:
    """What the card says of the records of a split."""
    card = folder.card
    if card is None:
        return checks.Expected()
    captions = card.splits[split].settings.get("max_captions")
    return checks.Expected(card.frame_rate, card.sample_rate, card.short_side, captions, card.label_map)


def _task(folder, name, split, decode):
    place = None
    if folder.card is not None and "sha256" in folder.card.splits[split].settings:
        place = parse_shard_name(name)  # the preprocessing wrote it: keys are in the shard that their hash says
    return _Task(folder.join(name), name, split, place, expected(folder, split), decode)


def check_shard(task: _Task) -> Shard:
    """Reads one shard from beginning to end."""
    shard = Shard(task.name, task.split)
    digest, hashes, before = hashlib.sha256(), [], ""
    try:
        file, shard.bytes = open_file(task.path)
    except OSError as error:
        shard.add(f"cannot be opened ({error.strerror or error})")
        return shard
    with file:
        for number, (content, problem) in enumerate(tfrecord.read(file, shard.bytes, digest)):
            if problem:
                shard.add(problem)
                hashes.append(0)
                continue
            shard.records += 1
            try:
                record = reader.parse(content)
            except ValueError as error:
                shard.add(f"record {number}: {error}")
                hashes.append(0)
                continue
            where = f"record {number} ({shown(record.key)})"
            for problem in checks.check(record, task.expected, task.decode):
                shard.add(f"{where}: {problem}")
            hashes.append(int.from_bytes(hashlib.sha256(record.key).digest()[:8], "big") if record.key else 0)
            if task.place:
                right, rank = shard_of(record.key.decode("utf-8", "replace"), task.place.number)
                if right != task.place.index:
                    shard.add(f"{where}: belongs into shard {right:05d}")
                elif rank < before:
                    shard.add(f"{where}: is not in its place in the order of the shard")
                before = rank
            shard.counters.update(_counters(record))
    shard.sha256, shard.hashes = digest.hexdigest(), np.array(hashes, np.uint64)
    return shard


def _counters(record):
    sound = record.waveform is not None
    return {
        "with_video": bool(record.jpegs),
        "with_sound": sound,
        "silent": sound and not record.waveform.any(),
        "with_captions": bool(record.captions),
        "with_labels": bool(record.labels),
        "frames": len(record.jpegs),
        "milliseconds": round(((record.end or 0) - (record.start or 0)) / 1000),
    }


def _repeated(folder: Folder, shards: list[Shard]) -> Iterator[str]:
    """Keys that more than one record has, over all shards."""
    everything = np.sort(np.concatenate([np.zeros(0, np.uint64), *(shard.hashes for shard in shards)]))
    twice = np.unique(everything[1:][(everything[1:] == everything[:-1]) & (everything[1:] > 0)])
    seen, told = {}, 0
    for shard in shards:
        numbers = np.flatnonzero(np.isin(shard.hashes, twice)).tolist()
        file, size = open_file(folder.join(shard.name)) if numbers else (contextlib.nullcontext(), 0)
        with file:
            for number in numbers[:MOST_PROBLEMS]:
                key = reader.parse(tfrecord.read_one(file, size, number)).key
                if key in seen and told < MOST_PROBLEMS:
                    yield f"{shard.name}: record {number} ({shown(key)}): the key is also that of {seen[key]}"
                    told += 1
                seen.setdefault(key, f"record {number} of {shard.name}")
    if len(twice) > told:
        yield f"and {len(twice) - told} more keys that several records have"
