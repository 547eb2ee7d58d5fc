"""The content of a set of records, counted shard by shard."""

import collections
import dataclasses
import hashlib
import heapq
import math
from typing import NamedTuple

import numpy as np

from mmv_tf.inspection.folder import open_file, shown
from mmv_tf.pages import jpeg
from mmv_tf.records import reader, vocabulary

LOUDNESS_STEP = 6  # dB
QUIETEST = -90  # dB of full scale; what is quieter, and not silent, counts there
LONGEST = 3600  # seconds; what is longer counts there
_MOST_DAMAGED = 20


def _counter():
    return dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass
class Statistics:
    """Sums over records; those of several shards add up."""

    has: collections.Counter = _counter()  # clips, frames, sound, silence, narrations, labels, bytes, milliseconds, ...
    seconds: collections.Counter = _counter()  # duration in whole seconds -> clips
    sizes: collections.Counter = _counter()  # (width, height) -> clips
    loudness: collections.Counter = _counter()  # lower edge in dB of full scale -> clips; silence is not among them
    narrations: collections.Counter = _counter()  # candidates of a clip -> clips
    words: collections.Counter = _counter()  # word -> times in the candidates of all clips
    labels: collections.Counter = _counter()  # (index, name) -> clips
    damaged: list[str] = dataclasses.field(default_factory=list)  # some of the records that cannot be read

    def add(self, other: "Statistics") -> None:
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            mine.extend(theirs) if isinstance(mine, list) else mine.update(theirs)


class Place(NamedTuple):
    """Where a record lies; sorted by a hash of its key, the first ones of many are a fair sample."""

    hash: bytes
    shard: str
    number: int
    key: bytes


class Task(NamedTuple):
    path: str
    name: str
    keys: frozenset[bytes]  # to be found
    sample: int  # how many others ...
    contains: str = ""  # ... of those that have this, in lower case, in key, file, narrations or labels


def of_shard(task: Task) -> tuple[Statistics, list[Place]]:
    """Counts one shard, and finds the records that are to be shown."""
    statistics, wanted, sample = Statistics(), [], []
    file, size = open_file(task.path)
    with file:
        for number, record, num_bytes, problem in reader.read(file, size):
            if problem:
                statistics.has["damaged"] += 1
                statistics.damaged = [*statistics.damaged, f"{task.name}: {problem}"][:_MOST_DAMAGED]
                continue
            _count(statistics, record, num_bytes)
            if record.key not in task.keys and not _has(record, task.contains):
                continue
            statistics.has["found"] += 1
            place = Place(hashlib.sha256(record.key).digest()[8:], task.name, number, record.key)
            (wanted if record.key in task.keys else sample).append(place)
            if len(sample) > 2 * task.sample + 100:
                sample = heapq.nsmallest(task.sample, sample)
    return statistics, wanted + heapq.nsmallest(task.sample, sample)


def _has(record, text):
    texts = (record.key, record.path, *record.captions, *record.label_names)
    return not text or any(text in one.decode("utf-8", "replace").lower() for one in texts)


def _count(statistics, record, size):
    seconds = duration(record)
    sound = record.waveform is not None
    statistics.has.update(clips=1, bytes=size, milliseconds=round(1000 * seconds), frames=len(record.jpegs))
    statistics.has.update(
        with_video=bool(record.jpegs),
        with_sound=sound,
        with_narration=bool(record.captions),
        with_labels=bool(record.labels),
    )
    statistics.seconds[min(round(seconds), LONGEST)] += 1
    if record.jpegs:
        try:
            height, width = jpeg.size(record.jpegs[0])
            statistics.sizes[width, height] += 1
        except ValueError:
            statistics.has["unreadable_pictures"] += 1
    if sound:
        level = loudness(record.waveform)
        if level == -math.inf:
            statistics.has["silent"] += 1
        else:
            lowest = max(QUIETEST, math.floor(level / LOUDNESS_STEP) * LOUDNESS_STEP)
            statistics.loudness[min(lowest, -LOUDNESS_STEP)] += 1
    statistics.narrations[len(record.captions)] += 1
    for caption in record.captions:
        statistics.words.update(vocabulary.words(caption.decode("utf-8", "replace")))
    names = record.label_names if len(record.label_names) == len(record.labels) else [b""] * len(record.labels)
    statistics.labels.update((index, shown(name, 60)) for index, name in zip(record.labels, names, strict=True))


def duration(record: reader.Stored) -> float:
    """Seconds: by the span, or else by what there is."""
    if record.start is not None and record.end is not None:
        return max(0.0, (record.end - record.start) / 1e6)
    frames = len(record.jpegs) / record.frame_rate if record.frame_rate > 0 else 0.0
    sound = record.waveform is not None and record.sample_rate > 0
    return max(frames, len(record.waveform) / record.sample_rate if sound else 0.0)


def loudness(waveform: np.ndarray) -> float:
    """Root mean square in dB of full scale: 0 for the loudest square wave, -3.01 for a full sine, -inf for silence."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    return 10 * math.log10(power) if power > 0 and math.isfinite(power) else -math.inf


def unknown_words(words: collections.Counter, known: frozenset[str]) -> tuple[int, int, list[tuple[str, int]]]:
    """(words outside a vocabulary, all words, the most frequent unknown ones); stop words do not count."""
    counted = {word: number for word, number in words.items() if word not in vocabulary.STOP_WORDS}
    unknown = sorted(((w, n) for w, n in counted.items() if w not in known), key=lambda entry: (-entry[1], entry[0]))
    return sum(number for _, number in unknown), sum(counted.values()), unknown[:20]
