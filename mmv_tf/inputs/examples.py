"""The examples of a training run, one by one from a step on: a mixture of sources, and what to do about faults.

Everything is a function of (seed, position), so what was read can be read again: that is how a fault is traced to its
record, at no cost to a run without faults.
"""

import dataclasses
import os
from collections.abc import Callable

import tensorflow as tf

from mmv_tf.inputs import faults, shards
from mmv_tf.inputs import stream as streams
from mmv_tf.inputs.clip import ClipMaker
from mmv_tf.inputs.mixture import Source, split_batch, spread
from mmv_tf.inputs.shards import place, read_places, read_shard, read_what_can_be_read
from mmv_tf.records import schema as records


@dataclasses.dataclass(frozen=True)
class TrainingExamples:
    """What one host reads.

    Attributes:
      sources, names: the sources, and what to call them.
      clips: makes an example of a record.
      batch: examples of this host in a step; each step holds every source in proportion to its weight.
      seed: of order and augmentation.
      start_step: the step of the first example.
      host, hosts: which host this is, of how many.
      readers, window, window_bytes: see InputPipeline.
      bad_records: takes note of the records that are left out; None if a bad record shall be an error.
    """

    sources: tuple[Source, ...]
    names: tuple[str, ...]
    clips: ClipMaker
    batch: int
    seed: int
    start_step: int
    host: int
    hosts: int
    readers: int
    window: int
    window_bytes: float
    bad_records: faults.BadRecords | None

    def records(self, read: Callable[..., tf.data.Dataset] = read_shard) -> tf.data.Dataset:
        """(serialized, number of the source int32, seed [2] int64), in order, endless; `read`: see `record_stream`.

        Raises:
          ValueError: no sources, no files, or a source that gets no place in the batch.
        """
        if not self.sources:
            raise ValueError("InputPipeline.sources is empty: bind at least one Source, with a pattern of records")
        counts = split_batch(self.batch, [source.weight for source in self.sources])
        datasets = []
        for index, (source, count) in enumerate(zip(self.sources, counts, strict=True)):
            if not count:
                raise ValueError(
                    f"the source {self.names[index]!r} gets no place in a batch of {self.batch}: raise Source.weight"
                )
            found = shards.find(source.pattern)
            readers = streams.num_readers(found, self.readers, self.hosts)
            window = streams.shuffle_window(found, readers, self.window, self.window_bytes)
            start = self.start_step * count * self.hosts
            stream = streams.record_stream(
                found, self.seed + index, start, self.readers, window, self.host, self.hosts, read
            )
            number, base = tf.constant(index, tf.int32), tf.constant((self.seed << 16) + index, tf.int64)
            datasets.append(
                stream.map(lambda record, position, n=number, base=base: (record, n, tf.stack([base, position])))
            )
        if len(datasets) == 1:
            return datasets[0]
        choice = tf.data.Dataset.from_tensor_slices(tf.constant(spread(counts), tf.int64)).repeat()
        return tf.data.Dataset.choose_from_datasets(datasets, choice)

    def examples(self) -> tf.data.Dataset:
        """What `ClipMaker.training` makes of the records; of one that is left out, an example that lacks everything.

        Raises:
          tf.errors.InvalidArgumentError: (while iterating) a bad record, or more of them than may be left out.
        """
        if self.bad_records is None:
            return self._examples_of(self.records())
        elements = tf.data.Dataset.zip(self.records(read_what_can_be_read), self.records(read_places))
        # An iterator of its own for each record: errors are ignored inside it, and order and number stay.
        tried = elements.interleave(
            self._try, cycle_length=os.cpu_count(), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return tried.map(self._report)  # one at a time, for it runs Python

    def _examples_of(self, elements):
        return elements.map(self.clips.training, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _try(self, element, place):
        serialized, source, seed = element
        contents = tf.data.Dataset.from_tensor_slices(tf.stack([serialized, ""])).enumerate()

        def make(number, content):
            return number == 0, self.clips.training(content, source, seed), (serialized, source, seed, place[0])

        return contents.map(make).ignore_errors().take(1)

    def _report(self, is_good, example, origin):
        noted = tf.cond(is_good, lambda: True, lambda: tf.py_function(self._note, origin, tf.bool))
        with tf.control_dependencies([noted]):
            return tf.nest.map_structure(tf.identity, example)

    def _note(self, serialized, source, seed, where):
        why = self._what_is_wrong(serialized, source, seed) or "no clip can be made of it"
        self.bad_records.add(place(where.numpy()), self.names[int(source)], _key(serialized), why)
        return True

    def find_fault(self, count: int) -> tuple[int, str] | None:
        """Looks for a bad record among `count` examples: its number and a line about it, or None if all are good.

        Takes as long as making the examples.
        """
        done = 0
        try:
            for _ in self._examples_of(self.records(read_what_can_be_read)).take(count):
                done += 1
        except tf.errors.OpError as error:
            line = faults.explain_data_error(error) or self._line_about(done)
            return (done, line) if line else None
        return None

    def _line_about(self, number):
        """A line about an example, or None if its record is not at fault."""
        near = dataclasses.replace(self, start_step=self.start_step + number // self.batch)
        elements = tf.data.Dataset.zip(near.records(read_what_can_be_read), near.records(read_places))
        try:
            (serialized, source, seed), (where, _, _) = next(iter(elements.skip(number % self.batch)))
        except tf.errors.OpError:  # no record is at fault, but its shard, such as one that is gone
            return None
        why = self._what_is_wrong(serialized, source, seed)
        if why is None:
            return None
        return faults.describe(place(where.numpy()), self.names[int(source)], _key(serialized), why)

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
