"""An endless stream of records whose order is a pure function of (seed, position): it resumes from a number.

Every epoch puts the shards into a new order and cuts that sequence of records into R equal ranges, one a reader.
Record p of an epoch comes from reader p % R, so readers run side by side, and each record comes exactly once an epoch.
A reader permutes its records within windows of W. All of this is arithmetic over the numbers of records in the
shards, so a stream can start at any position: what is read in vain is at most one shard and one window a reader.

Position n of the stream belongs to slot n % R. Of H hosts, host h reads the slots that are h modulo H, so that every
number of hosts sees the same records at the same positions.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from mmv_tf.inputs.shards import Shards, mean_record_bytes, read_shard


def num_readers(shards: Shards, readers: int, num_hosts: int = 1) -> int:
    """How many readers share the records: `readers`, or as many as there are shards if that is fewer.

    Raises:
      ValueError: the hosts cannot share them evenly; says how many shards would do.
    """
    count = min(readers, len(shards.files))
    # A power of two, since hosts come in powers of two; the same for any number of hosts, for the order hangs on it.
    count = 2 ** int(math.log2(count))
    if count % num_hosts:
        raise ValueError(
            f"{num_hosts} hosts cannot share {count} readers of the {len(shards.files)} shards {shards.files[0]} ...: "
            f"write at least {num_hosts} shards, and set InputPipeline.readers to a multiple of the number of hosts"
        )
    return count


def shuffle_window(shards: Shards, readers: int, largest: int = 256, memory_bytes: float = 2**30) -> int:
    """Records in a reader's window, so that the windows of all readers (two each) stay within `memory_bytes`."""
    return max(1, min(largest, int(memory_bytes / (2 * readers * mean_record_bytes(shards)))))


def record_stream(
    shards: Shards,
    seed: int,
    start: int = 0,
    readers: int = 16,
    window: int = 256,
    host: int = 0,
    num_hosts: int = 1,
    read: Callable[..., tf.data.Dataset] = read_shard,
) -> tf.data.Dataset:
    """The records at positions start, start + 1, ...; of them those with position % num_hosts == host.

    Args:
      shards: from `mmv_tf.inputs.shards.find`.
      seed: of the order.
      start: position of the first record over all hosts.
      readers: greatest number of shards that are read side by side, over all hosts.
      window: records that a reader holds and permutes.
      host, num_hosts: which part this host reads.
      read: one of the three readers of `inputs.shards`, which gives records [begin, end) of a shard.
    Returns:
      dataset of (serialized scalar string, position scalar int64), endless and deterministic.
    Raises:
      ValueError: see `num_readers`.
      tf.errors.InvalidArgumentError: (while iterating) a shard has not as many readable records as it should have;
        names shard and record. See `mmv_tf.inputs.faults`.
    """
    readers = num_readers(shards, readers, num_hosts)
    firsts = [n for n in range(start, start + readers) if n % num_hosts == host]
    reader = _Reader(shards, seed, readers, window, read)
    records = tf.data.Dataset.from_tensor_slices(tf.constant(firsts, tf.int64)).interleave(
        reader.slot, cycle_length=len(firsts), block_length=1, num_parallel_calls=len(firsts), deterministic=True
    )
    return tf.data.Dataset.zip(records, tf.data.Dataset.counter(firsts[0], num_hosts, dtype=tf.int64))


class _Reader:
    def __init__(self, shards, seed, readers, window, read):
        self._files = tf.constant(shards.files)
        self._counts = tf.constant(shards.counts, tf.int64)
        self._total, self._readers, self._window, self._read = shards.num_records, readers, window, read
        self._seed = tf.constant([seed, 0x5EED], tf.int64)  # the second number keeps these apart from augmentation

    def slot(self, first):
        """All records at positions first, first + R, first + 2R, ..."""
        first_epoch, place = first // self._total, first % self._total

        def one_epoch(epoch):
            reader = (first - epoch * self._total) % self._readers
            return self._range(epoch, reader, tf.where(epoch == first_epoch, place // self._readers, 0))

        return tf.data.Dataset.counter(first_epoch, dtype=tf.int64).flat_map(one_epoch)

    def _range(self, epoch, reader, skip):
        """The records of one reader in one epoch, in their final order, from the skip-th."""
        size, longer = self._total // self._readers, self._total % self._readers
        begin = reader * size + tf.minimum(reader, longer)
        end = begin + size + tf.cast(reader < longer, tf.int64)
        first_window = skip // self._window
        records = self._in_file_order(epoch, begin + first_window * self._window, end)
        if self._window == 1:
            return records

        def permute(number, records):
            seed = _fold(self._seed, epoch, reader, first_window + number)
            return tf.gather(records, tf.random.experimental.stateless_shuffle(tf.range(tf.size(records)), seed))

        records = records.batch(self._window).enumerate().map(permute).unbatch()
        return records.skip(skip % self._window)

    def _in_file_order(self, epoch, begin, end):
        """Records [begin, end) of the sequence of this epoch's shards."""
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(self._files)), _fold(self._seed, epoch))
        files, counts = tf.gather(self._files, order), tf.gather(self._counts, order)
        ends = tf.cumsum(counts)
        starts = ends - counts
        inside = (starts < end) & (ends > begin)
        parts = (files, counts, tf.maximum(begin - starts, 0), tf.minimum(end, ends) - starts)
        return tf.data.Dataset.from_tensor_slices(tuple(part[inside] for part in parts)).flat_map(self._read)


def _fold(seed, *numbers):
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, number)
    return seed
