"""An endless stream of records whose order is a pure function of (seed, position): it resumes from any number.

Every epoch is a permutation of all records of a source, or each record is drawn by itself. What stands at a position is
computed where it is needed (`inputs.permutation`), and an index says where each record lies (`inputs.offsets`), so that
record n is read without those before it. Position n is the same record for any number of hosts.
"""

import dataclasses

import tensorflow as tf

from mmv_tf.inputs import offsets, permutation, shards
from mmv_tf.inputs.faults import FAULT_MARK
from mmv_tf.inputs.mixture import Shares
from mmv_tf.inputs.shards import Shards

_BLOCK = 256  # positions that are looked up together
_ORDER, _PAGES, _WITHIN, _DRAWN = 1, 2, 3, 4  # keep keys of one seed apart


@dataclasses.dataclass(frozen=True)
class Order:
    """Which record stands at a position of a mixture of sources.

    Attributes:
      sizes: records of each source.
      shares: how the positions are shared by the sources.
      seeds: of the order of each source.
      windows: 0 if all records of a source are permuted among themselves; else about so many, for file systems that
        read ahead: runs of neighbours (`page` of them) from all over the source are permuted together.
      independent: each position draws one of all records, whatever stands at others; there are no epochs.
    """

    sizes: tuple[int, ...]
    shares: Shares
    seeds: tuple[int, ...]
    windows: tuple[int, ...]
    independent: bool = False

    def at(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Positions to (source, position in the source, record), all int64 [n].

        Records are counted through all sources: those of the second come after all of the first.
        """
        source, place = self.shares.at(position)
        size = tf.gather(tf.constant(self.sizes, tf.int64), source)
        seed = tf.gather(tf.constant(self.seeds, tf.int64), source)
        key = permutation.key(seed, _ORDER, place // size)
        if self.independent:
            record = tf.cast(permutation.key(seed, _DRAWN, place) % tf.cast(size, tf.uint64), tf.int64)
        elif any(self._is_window(number) for number in range(len(self.sizes))):
            record = self._in_windows(source, place % size, size, key)
        else:
            record = permutation.permute(place % size, size, key)
        first = tf.cumsum(tf.constant(self.sizes, tf.int64), exclusive=True)
        return source, place, tf.gather(first, source) + record

    def _is_window(self, source):
        return 0 < self.windows[source] < self.sizes[source]

    def _in_windows(self, source, place, size, key):
        """Pages in a random order; of those, some after another are a window; the records of a window are permuted."""
        by_source = [self._is_window(number) for number in range(len(self.sizes))]
        page = [page_of(window) if by else 1 for window, by in zip(self.windows, by_source, strict=True)]
        number = [
            -(-window // rows) if by else records
            for window, rows, by, records in zip(self.windows, page, by_source, self.sizes, strict=True)
        ]
        page, number = (tf.gather(tf.constant(values, tf.int64), source) for values in (page, number))
        pages = (size + page - 1) // page

        def look_up(place):
            window, inside = place // (page * number), place % (page * number)
            rest = pages * page - window * page * number
            inside = permutation.permute(inside, tf.minimum(page * number, rest), permutation.key(key, _WITHIN, window))
            which = permutation.permute(window * number + inside // page, pages, permutation.key(key, _PAGES))
            return which * page + inside % page

        # The last page may not be full: who lands behind its end goes on from there.
        (record,) = tf.while_loop(
            lambda record: tf.reduce_any(record >= size),
            lambda record: (tf.where(record < size, record, look_up(record)),),
            (look_up(place),),
        )
        return record


def page_of(window: int) -> int:
    """Neighbours that are read in one window."""
    return max(1, round(window**0.5))


def largest_window(window: int, most_bytes: float | None, index: offsets.Index) -> int:
    """`window`, or as many records as take up `most_bytes` if that is fewer; never 0."""
    return window if most_bytes is None else max(1, min(window, int(most_bytes * len(index.offsets) / index.bytes)))


def positions(start: int, host: int, hosts: int, share: int) -> tf.data.Dataset:
    """The positions of one host, int64 [n] some at a time: of each batch of hosts * share from `start` on its part."""

    def block(first):
        number = first + tf.range(_BLOCK, dtype=tf.int64)
        return start + number // share * (hosts * share) + host * share + number % share

    return tf.data.Dataset.counter(0, _BLOCK, dtype=tf.int64).map(block)


def read(
    order: Order, index: offsets.Index, where: tf.data.Dataset, at_once: int, go_on: bool = False
) -> tf.data.Dataset:
    """The records at positions.

    Args:
      order: of the records in `index`.
      where: dataset of int64 [n], as from `positions`.
      at_once: records that are read side by side.
      go_on: in place of a damaged record give FAULT_MARK and the reason, which is no record, so that what parses it
        fails as it does on other bad records.
    Returns:
      dataset of (content scalar string, source, position in the source, record; these scalar int64), deterministic.
    Raises:
      tf.errors.InvalidArgumentError: (while iterating) a shard is longer than it should be; without `go_on`, a record
        is damaged, or the index knows that a shard cannot be read to the end. Names shard and record.
    """
    where = where if (fault := _fault(index, go_on)) is None else where.map(lambda position: _refuse(fault, position))
    content = _content_of(index, go_on)

    def element(source, place, record):
        return content(record), source, place, record

    return where.map(order.at).unbatch().map(element, num_parallel_calls=at_once, deterministic=True)


def read_all(index: offsets.Index, at_once: int, go_on: bool = False) -> tf.data.Dataset:
    """The content of every record of an index once, in its order. Arguments and errors as in `read`."""
    numbers = tf.data.Dataset.range(len(index.offsets))
    numbers = numbers if (fault := _fault(index, go_on)) is None else numbers.map(lambda record: _refuse(fault, record))
    return numbers.map(_content_of(index, go_on), num_parallel_calls=at_once, deterministic=True)


def _fault(index, go_on) -> str | None:
    """The line about what keeps a whole index from being read."""
    return next(iter([*index.longer, *([] if go_on else index.problems)]), None)


def _content_of(index, go_on):
    """A function of the number of a record that reads it."""
    counts = index.starts[1:] - index.starts[:-1]
    files, starts, lengths, lost, known = map(
        tf.constant, (index.files, index.starts[:-1], counts, index.lost, index.offsets)
    )

    def content(record):
        shard = tf.searchsorted(starts, record[None], side="right")[0] - 1
        file = tf.gather(files, shard)
        is_whole, stored = shards.read_at(file, tf.gather(known, record))

        def damaged():
            why = tf.gather(lost, shard)
            return FAULT_MARK + tf.where(why != "", why, "its checksum does not fit its content")

        def refused():
            number = tf.strings.as_string(record - tf.gather(starts, shard))
            name = tf.strings.join(["shard ", file, ": record ", number])
            name = tf.strings.join([name, " of ", tf.strings.as_string(tf.gather(lengths, shard))])
            return _refuse(offsets.cannot_be_read(name), stored)

        return tf.cond(is_whole, lambda: stored, damaged if go_on else refused)

    return content


def _refuse(line, value):
    with tf.control_dependencies([tf.debugging.Assert(False, [FAULT_MARK + line])]):
        return tf.identity(value)


@tf.autograph.experimental.do_not_convert  # nothing needs it, and it takes most of the time to build
def record_stream(
    found: Shards, seed: int, start: int = 0, readers: int = 16, window: int = 0, host: int = 0, num_hosts: int = 1
) -> tf.data.Dataset:
    """The records at positions start, start + 1, ...; of them those with position % num_hosts == host.

    Args:
      found: from `mmv_tf.inputs.shards.find`.
      seed: of the order.
      start: position of the first record over all hosts.
      readers: records that are read side by side.
      window: see `Order`.
      host, num_hosts: which part this host reads.
    Returns:
      dataset of (serialized scalar string, position scalar int64), endless and deterministic.
    Raises:
      tf.errors.OpError: see `offsets.index_of` and, while iterating, `read`.
    """
    order = Order((found.num_records,), Shares([1]), (seed,), (window,))
    where = positions(start, (host - start) % num_hosts, num_hosts, 1)
    stream = read(order, offsets.index_of([found], {}), where, readers)
    return stream.map(lambda content, source, place, record: (content, place))
