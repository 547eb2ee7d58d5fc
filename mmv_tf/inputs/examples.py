"""The examples of a training run, one by one from a clip on: a mixture of sources, and what to do about faults.

Everything is a function of (seed, position), so what was read can be read again: that is how a fault is traced to its
record, at no cost to a run without faults.
"""

import dataclasses
import functools
import os

import tensorflow as tf

from mmv_tf.inputs import faults, offsets, shards
from mmv_tf.inputs import stream as streams
from mmv_tf.inputs.clip import ClipMaker
from mmv_tf.inputs.mixture import Shares, Source
from mmv_tf.records import schema as records


@dataclasses.dataclass(frozen=True)
class TrainingExamples:
    """What one host reads.

    Attributes:
      sources, names: the sources, and what to call them.
      clips: makes an example of a record.
      batch: examples of this host in a step.
      seed: of order and augmentation.
      start: position, counted in clips over all hosts, of the first example of the first host.
      host, hosts: which host this is, of how many.
      readers, window, window_bytes: see InputPipeline.
      bad_records: takes note of the records that are left out; None if a bad record shall be an error.
      known: what this process knows of shards, see `offsets.index_of`.
      numbered: whether an example holds its 'index', int32: the number of its record in `index`.
      independent: see `stream.Order`.
    """

    sources: tuple[Source, ...]
    names: tuple[str, ...]
    clips: ClipMaker
    batch: int
    seed: int
    start: int
    host: int
    hosts: int
    readers: int
    window: int
    window_bytes: float
    bad_records: faults.BadRecords | None
    known: dict
    numbered: bool = False
    independent: bool = False

    @functools.cached_property
    def found(self) -> tuple[shards.Shards, ...]:
        """The shards of each source.

        Raises:
          ValueError: no sources, or no files.
        """
        if not self.sources:
            raise ValueError("InputPipeline.sources is empty: bind at least one Source, with a pattern of records")
        return tuple(shards.find(source.pattern) for source in self.sources)

    @functools.cached_property
    def index(self) -> offsets.Index:
        """Where the records of all sources lie. Raises tf.errors.OpError: a file cannot be read."""
        return offsets.index_of(self.found, self.known)

    @functools.cached_property
    def order(self) -> streams.Order:
        """Which record of `index` stands at a position of the stream of all hosts."""
        window = self.window and streams.largest_window(self.window, self.window_bytes, self.index)
        return streams.Order(
            sizes=tuple(one.num_records for one in self.found),
            shares=Shares([source.weight for source in self.sources]),
            seeds=tuple(self.seed + number for number in range(len(self.sources))),
            windows=(window,) * len(self.found),
            independent=self.independent,
        )

    def records(self, go_on: bool = False) -> tf.data.Dataset:
        """(serialized, source int32, seed [2] int64, record int64: its number in `index`), in order, endless.

        Args:
          go_on: see `stream.read`.
        """
        return self._read(streams.positions(self.start, self.host, self.hosts, self.batch), go_on)

    def _read(self, positions, go_on):
        def seeded(content, source, place, record):
            seed = tf.stack([tf.constant(self.seed << 16, tf.int64) + source, place])
            return content, tf.cast(source, tf.int32), seed, record

        return streams.read(self.order, self.index, positions, self.readers, go_on).map(seeded)

    def examples(self) -> tf.data.Dataset:
        """What `ClipMaker.training` makes of the records; of one that is left out, an example that lacks everything.

        Raises:
          tf.errors.InvalidArgumentError: (while iterating) a bad record, or more of them than may be left out.
        """
        if self.bad_records is None:
            return self._examples_of(self.records())
        # An iterator of its own for each record: errors are ignored inside it, and order and number stay.
        tried = self.records(go_on=True).interleave(
            self._try, cycle_length=os.cpu_count(), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return tried.map(self._report)  # one at a time, for it runs Python

    def each_record(self) -> tf.data.Dataset:
        """The middle clip of every record of all sources once, not augmented, in the order of their numbers.

        Of a record that is left out, an example that lacks everything.

        Raises:
          tf.errors.InvalidArgumentError: (while iterating) a bad record, where none may be left out.
        """
        go_on = self.bad_records is not None
        stored = streams.read_all(self.index, self.readers, go_on)

        def make(content):
            return self.clips.evaluation(content, 0, 1)

        def tried(content):
            return tf.data.Dataset.from_tensor_slices(tf.stack([content, ""])).map(make).ignore_errors().take(1)

        if not go_on:
            return stored.map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return stored.interleave(
            tried, cycle_length=os.cpu_count(), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def _examples_of(self, elements):
        return elements.map(self._example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _example(self, content, source, seed, record):
        number = {"index": tf.cast(record, tf.int32)} if self.numbered else {}
        return self.clips.traced_training(content, source, seed) | number

    def _try(self, serialized, source, seed, record):
        contents = tf.data.Dataset.from_tensor_slices(tf.stack([serialized, ""])).enumerate()

        def make(number, content):
            return number == 0, self._example(content, source, seed, record), (serialized, source, seed, record)

        return contents.map(make).ignore_errors().take(1)

    def _report(self, is_good, example, origin):
        noted = tf.cond(is_good, lambda: True, lambda: tf.py_function(self._note, origin, tf.bool))
        with tf.control_dependencies([noted]):
            return tf.nest.map_structure(tf.identity, example)

    def _note(self, serialized, source, seed, record):
        with self.bad_records.noting():
            why = self._what_is_wrong(serialized, source, seed) or "no clip can be made of it"
            self.bad_records.add(self.index.place(int(record)), self.names[int(source)], _key(serialized), why)
        return True

    def find_fault(self, count: int) -> tuple[int, str] | None:
        """Looks for a bad record among `count` examples: its number and a line about it, or None if all are good.

        Takes as long as making the examples.
        """
        done = 0
        try:
            for _ in self._examples_of(self.records(go_on=True)).take(count):
                done += 1
        except tf.errors.OpError as error:
            line = faults.explain_data_error(error) or self._line_about(done)
            return (done, line) if line else None
        return None

    def _line_about(self, number):
        """A line about an example, or None if its record is not at fault."""
        step, inside = divmod(number, self.batch)
        position = self.start + (step * self.hosts + self.host) * self.batch + inside
        try:
            (element,) = self._read(tf.data.Dataset.from_tensors(tf.constant([position], tf.int64)), go_on=True)
        except tf.errors.OpError:  # no record is at fault, but its shard, such as one that is gone
            return None
        serialized, source, seed, record = element
        why = self._what_is_wrong(serialized, source, seed)
        if why is None:
            return None
        return faults.describe(self.index.place(int(record)), self.names[int(source)], _key(serialized), why)

    def _what_is_wrong(self, serialized, source, seed):
        """Why no example can be made of a record, in TensorFlow's words; None if it can."""
        content = serialized.numpy()
        if content.startswith(faults.FAULT_MARK.encode()):
            return content.decode().removeprefix(faults.FAULT_MARK)
        try:
            self.clips.training(serialized, source, seed)
        except tf.errors.OpError as error:
            return faults.reason(error)
        return None


def _key(serialized):
    try:
        return records.parse(serialized)["key"].numpy().decode(errors="replace")
    except tf.errors.OpError:  # then it has none that can be read
        return ""
