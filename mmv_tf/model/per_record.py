"""State of each training record between steps: the memories of `Graph.memories`, and tables of whole numbers.

A step reads what it needs of them before anything is computed, and writes after it; both outside of what XLA compiles,
which would copy a whole memory in each step. Every replica holds all of it, and writes what all replicas have computed,
in their order: so all hold the same. Nothing of it is a weight: exports, deflation and the identity of a network know
nothing of it.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from mmv_tf.backbones.draws import Draws
from mmv_tf.common import replicas
from mmv_tf.model.graph import Graph
from mmv_tf.model.losses import _one_candidate, _unit
from mmv_tf.model.record_losses import Labels, Remembered

_BLOCK = 1 << 14  # rows that are drawn together: what a row begins with hangs on it
_DRAWN = "negatives of memories"  # what the draws are for


def gathered(tensor: tf.Tensor) -> tf.Tensor:
    """[b, ...] on each replica -> [B, ...] in replica order, with an exact gradient; as it is on one replica."""
    replica = replicas.context()
    if replica is None:
        return tensor
    # Inside of a graph TensorFlow forgets all dimensions here, and not just the first one.
    return tf.ensure_shape(replica.all_gather(tensor, axis=0), [None, *tensor.shape[1:]])


def _of_everyone(mask: tf.Tensor) -> tf.Tensor:
    """`gathered` of a mask: bool [b] on each replica -> [B]."""
    return tf.cast(gathered(tf.cast(mask, tf.int32)), tf.bool)


class PerRecord:
    """The variables of a run over `count` records.

    Make it in the scope of the strategy.

    Args:
      graph: its memories and tables.
      count: N, records that are trained on.
      identity: of those records: 32 hexadecimal digits.
      widths: {table: numbers that it holds for each record}.
      sources: of each source of the data in their order (its records, its share of the clips); (): one of all records.

    Attributes:
      memories: {(modality or view, space): variable [N, d]}; zeros until `begin` or a checkpoint.
      tables: {name: variable int32 [N, width]}, -1 where nothing is known.
      class_weights: {table of a pair that tells classes: variable [classes]}, see `class_weights`; as of its table, not
        in checkpoints.
      z: scalar, what `memory_nce` divides by; 0 until the first step.
      refreshed: scalar int64, the step of the last refresh of the tables; -1 before the first.
      begun: keys of the memories whose vectors the last `begin` drew: random ones, until a step has been taken.

    Raises:
      ValueError: too few records.
    """

    def __init__(
        self,
        graph: Graph,
        count: int,
        identity: str,
        widths: Mapping[str, int] | None = None,
        sources: Sequence[tuple[int, float]] = (),
    ):
        self.graph, self.count, self.identity, self._sources = graph, count, identity, sources or [(count, 1.0)]
        self.begun: tuple[tuple[str, str], ...] = ()
        widths = dict(widths or {})
        if missing := [name for name in graph.tables if name not in widths]:
            raise ValueError(f"the graph names the table {missing[0]!r}, and train.refresh writes {_listed(widths)}.")
        if unused := [name for name in widths if name not in graph.tables]:
            known = _listed(graph.tables)
            raise ValueError(f"train.refresh writes the table {unused[0]!r}, and the graph names {known}.")
        for key, memory in graph.memories.items():
            avoided = widths[memory.positives] if memory.positives else 1
            if count <= avoided:
                raise ValueError(
                    f"the memory of {key} draws from {count} records but for {avoided}: there must be more of them."
                )
        # Made of a function, so that no second copy of them is there.
        self.memories = {
            key: _variable(lambda key=key, dtype=memory.dtype: tf.zeros([count, graph.spaces[key[1]]], dtype))
            for key, memory in graph.memories.items()
        }
        self.tables = {
            name: _variable(lambda width=width: tf.fill([count, width], -1)) for name, width in widths.items()
        }
        self._telling = [pair for pair in graph.pairs if pair.measured == "told" and widths.get(pair.table) == 1]
        classes: dict[str, int] = {}
        for pair in self._telling:
            classes[pair.table] = max(classes.get(pair.table, 0), graph.spaces[pair.space])
        self.class_weights = {
            name: _variable(lambda number=number: tf.zeros([number])) for name, number in classes.items()
        }
        self.z = _variable(lambda: tf.zeros([]))
        self.refreshed = _variable(lambda: tf.constant(-1, tf.int64))
        self.records = _variable(lambda: tf.constant(fingerprint(count, identity), tf.int64))

    @property
    def bytes(self) -> int:
        """Of memories and tables, on each device."""
        large = (*self.memories.values(), *self.tables.values())
        return sum(math.prod(variable.shape) * variable.dtype.size for variable in large)

    def named_variables(self) -> dict[str, tf.Variable]:
        """{name in checkpoints: variable}."""
        return {
            **{f"memory/{name}/{space}": variable for (name, space), variable in self.memories.items()},
            **{f"table/{name}": variable for name, variable in self.tables.items()},
            **{"z": self.z, "refreshed": self.refreshed, "records": self.records},
        }

    def begin(self, seed: int, names=None) -> None:
        """Gives memories (those whose names in checkpoints are in `names`; None: all) random unit vectors.

        Row i is a function of the seed, the memory's name and i.
        """
        self.begun = tuple(key for key in self.memories if names is None or "/".join(("memory", *key)) in names)
        for name, space in self.begun:
            variable = self.memories[name, space]
            key = (zlib.crc32(f"{name}/{space}".encode()) >> 1 << 32) + seed
            for first in range(0, self.count, _BLOCK):
                drawn = tf.random.stateless_normal([_BLOCK, variable.shape[1]], tf.constant([key, first], tf.int64))
                drawn = tf.math.l2_normalize(drawn, axis=1)  # all of a block, whose rows then round alike
                rows = tf.range(first, min(first + _BLOCK, self.count))
                for one in local(variable):
                    _write(one.handle, rows, drawn[: len(rows)], one.dtype)

    def set_table(self, name: str, values) -> None:
        """Writes a whole table [N, width] on all replicas; outside of a replica's context.

        Raises:
          ValueError: it holds a class that a pair has no logit for.
        """
        for pair in self._telling:
            if pair.table == name and np.max(values) >= self.graph.spaces[pair.space]:
                raise ValueError(
                    f"the table {name} holds the class {np.max(values)}, and pair {pair} tells classes in a space of "
                    f"{self.graph.spaces[pair.space]} dimensions, from 0 on: set Graph.spaces to at least one more."
                )
        for one in local(self.tables[name]):
            one.assign(values)
        self.weigh([name])

    def weigh(self, names=None) -> None:
        """Computes `class_weights` of tables (None: of all) from what they hold: after they were restored."""
        for name in self.class_weights if names is None else set(names) & set(self.class_weights):
            labels = local(self.tables[name])[0].numpy()[:, 0]
            chances = np.concatenate([np.full(records, share / max(1, records)) for records, share in self._sources])
            for one in local(self.class_weights[name]):
                one.assign(class_weights(labels, one.shape[0], chances))

    def recall(self, batch: Mapping[str, tf.Tensor], seed: int, step) -> dict[str, tf.Tensor]:
        """What a step on `batch`, a replica's part, needs to know.

        Raises:
          ValueError: the batch has no 'index'.
        """
        if "index" not in batch:
            raise ValueError("a batch has no 'index': set InputPipeline.numbers_records before batches are made.")
        index, graph = batch["index"], self.graph
        size = index.shape[0] if index.shape[0] is not None else tf.shape(index)[0]
        replica = replicas.context()
        number = 0 if replica is None else replica.replica_id_in_sync_group
        everyone = gathered(index)
        z = tf.raw_ops.ReadVariableOp(resource=self.z.handle, dtype=self.z.dtype)
        found: dict[str, tf.Tensor] = {"index": everyone, "z": z}
        for name, table in self.tables.items():
            found[f"table/{name}"] = _read(table, index)
        for name, weights in self.class_weights.items():
            found[f"weight/{name}"] = _read(weights, tf.maximum(found[f"table/{name}"][:, 0], 0))
        most = max((memory.negatives for memory in graph.memories.values()), default=0)
        numbers = {}
        if most:
            bits = Draws(seed, step, first=number * size).bits(_DRAWN, [size, most])
            for positives in {memory.positives for memory in graph.memories.values()}:
                avoided = found[f"table/{positives}"] if positives else index[:, None]
                numbers[positives] = drawn_from(bits, self.count, avoided)
        for (name, space), memory in graph.memories.items():
            variable, place = self.memories[name, space], f"memory/{name}/{space}"
            found[f"{place}/everyone"] = _read(variable, everyone)
            drawn = numbers[memory.positives][:, : memory.negatives] if most else tf.zeros([size, 0], tf.int32)
            found[f"{place}/negatives"] = _read(variable, drawn)
            if memory.positives:
                # Nothing (-1) has to read some row, too: `memory_nce` leaves it out.
                found[f"{place}/positives"] = _read(variable, tf.maximum(found[f"table/{memory.positives}"], 0))
        return found

    def remember(self, changes: Mapping[str, tf.Tensor]) -> None:
        """Writes what `Recalled.changed` says, in a replica's context."""
        for (name, space), variable in self.memories.items():
            _write(variable.handle, changes["index"], changes[f"memory/{name}/{space}"], variable.dtype)
        if "z" in changes:
            tf.raw_ops.AssignVariableOp(resource=self.z.handle, value=changes["z"])


class Recalled:
    """What a step knows of what is kept, and what of it changes: inside the step.

    Args:
      graph: of the model.
      found: from `PerRecord.recall`.
    """

    def __init__(self, graph: Graph, found: Mapping[str, tf.Tensor]):
        self._graph, self._found, self._z = graph, found, None
        self.changed: dict[str, tf.Tensor] = {}  # for `PerRecord.remember`

    def second(self, pair, sides) -> Remembered | Labels:
        """The second side of a pair of the graph that is 'memory:NAME' or 'table:NAME'.

        Args:
          sides: {(modality or view, space): Embeddings}.
        """
        first = sides[pair.sides[0]]
        if pair.table:
            row = self._found[f"table/{pair.table}"]
            there = tf.reduce_all(row >= 0, axis=1)
            return Labels(row, there, _of_everyone(there), self._found.get(f"weight/{pair.table}"))
        side, place = sides[pair.sides[1]], f"memory/{pair.seconds[0]}/{pair.space}"
        everyone, size = self._found[f"{place}/everyone"], tf.shape(first.local)[0]
        own = everyone if replicas.context() is None else everyone[first.offset :][:size]
        positives = self._graph.memories[pair.seconds[0], pair.space].positives
        there = self._found[f"table/{positives}"] >= 0 if positives else None
        return Remembered(
            own=tf.ensure_shape(own, [first.local.shape[0], everyone.shape[1]]),
            negatives=self._found[f"{place}/negatives"],
            positives=self._found.get(f"{place}/positives"),
            mask=side.mask[:, 0],
            everyone_mask=side.everyone_mask[:, 0],
            normaliser=self._normaliser,
            positives_there=there,
            everyone_positive=_of_everyone(tf.reduce_any(there, axis=1)) if positives else None,
        )

    def _normaliser(self, scores: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Z: what was found before; or the mean of `scores` [b, K] over the valid samples of all replicas."""
        if self._z is None:
            there = tf.where(valid, tf.reduce_mean(scores, axis=1), 0.0)
            total, count = replicas.total([tf.reduce_sum(there), tf.reduce_sum(tf.cast(valid, tf.float32))])
            before = self._found["z"]
            self._z = tf.where(before > 0, before, total / tf.maximum(count, 1.0))
        return tf.where(self._z > 0, self._z, 1.0)  # 0: nothing valid was there yet, and no loss counts

    def note_changes(self, sides) -> None:
        """Notes what `PerRecord.remember` is to write after the step: index [B], and for each memory new rows [B, d].

        Where a record is in a batch several times, its last sample counts; where its modality is missing, none.
        """
        index = self._found["index"]
        places = tf.range(tf.size(index))
        same = index[:, None] == index[None, :]
        found = self.changed = {"index": index}
        for (name, space), memory in self._graph.memories.items():
            _one_candidate("a memory", sides[name, space])
            side, old = sides[name, space], self._found[f"memory/{name}/{space}/everyone"]
            there = side.everyone_mask[:, 0]
            last = tf.reduce_max(tf.where(same & there[None, :], places[None, :], -1), axis=1)
            embedding = tf.stop_gradient(_unit(tf.cast(side.everyone[:, 0], tf.float32)))
            moved = _unit(memory.momentum * old + (1 - memory.momentum) * embedding, 1e-12)
            taken = tf.gather(moved, tf.maximum(last, 0))
            found[f"memory/{name}/{space}"] = tf.where(last[:, None] >= 0, taken, old)
        if self._z is not None:
            found["z"] = self._z


def drawn_from(bits: tf.Tensor, count: int, avoided: tf.Tensor) -> tf.Tensor:
    """Numbers of records, int32 [b, K], evenly from those of range(count) that a sample does not avoid.

    Args:
      bits: [b, K] uint32, every value as likely.
      avoided: [b, P] int32, different in each row but for -1, which is nothing: a draw from the count - P others (fewer
        are avoided where a row has -1) is moved by one for each of them that it has reached.
    """
    others = count - tf.reduce_sum(tf.cast(avoided >= 0, tf.int32), axis=1, keepdims=True)
    drawn = tf.bitwise.right_shift(tf.cast(bits, tf.uint64) * tf.cast(others, tf.uint64), tf.constant(32, tf.uint64))
    return shifted(tf.cast(drawn, tf.int32), avoided)


def shifted(drawn: tf.Tensor, avoided: tf.Tensor) -> tf.Tensor:
    """Draws [b, K] from range(N - P) as numbers of range(N) that are none of `avoided` [b, P], of which -1 is none."""
    last = tf.int32.max  # where no draw comes
    ascending = tf.sort(tf.where(avoided >= 0, avoided, last), axis=1)
    # How many others lie before each of them.
    before = tf.where(ascending < last, ascending - tf.range(avoided.shape[1])[None], last)
    return drawn + tf.searchsorted(before, drawn, side="right")


def class_weights(labels: np.ndarray, classes: int, chances: np.ndarray) -> np.ndarray:
    """By what a sample of each class counts, so that all classes which have records count alike: float32 [classes].

    The mean over samples that are drawn by `chances` is then what it would be if first a class were drawn, evenly, and
    then one of its records, by their chances. It is N / (C n) for each of n of N records, of C classes that have any.

    Args:
      labels: [N] int32, the class of each record; -1: none.
      chances: [N], how likely each is drawn, up to a factor.
    """
    known = labels >= 0
    mass = np.bincount(labels[known], chances[known], minlength=classes)
    each = mass.sum() / max(1, np.count_nonzero(mass))
    return np.divide(each, mass, out=np.zeros(classes), where=mass > 0).astype(np.float32)


def fingerprint(count: int, identity: str) -> list[int]:
    """Count and identity of records as whole numbers, for a checkpoint."""
    halves = (identity[:16], identity[16:])
    return [count, *(int.from_bytes(bytes.fromhex(half), "big", signed=True) for half in halves)]


def of_fingerprint(numbers) -> tuple[int, str]:
    """`fingerprint` back."""
    count, *halves = map(int, numbers)
    return count, "".join(half.to_bytes(8, "big", signed=True).hex() for half in halves)


def local(variable) -> tuple[tf.Variable, ...]:
    """The variables of this process's replicas that a variable stands for."""
    return variable.values if isinstance(variable, tf.distribute.DistributedValues) else (variable,)


def _variable(make: Callable[[], tf.Tensor]) -> tf.Variable:
    # Each replica reads and writes its own: what is written is the same on all.
    return tf.Variable(
        make,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


# By the operations themselves: the methods of a distributed variable leave the replica, and copy what they write.


def _read(variable, rows: tf.Tensor) -> tf.Tensor:
    """Rows of this replica's variable: [...] -> [..., d], float32 of a memory."""
    found = tf.raw_ops.ResourceGather(resource=variable.handle, indices=rows, dtype=variable.dtype)
    found = tf.ensure_shape(found, [*rows.shape, *variable.shape[1:]])
    return tf.stop_gradient(tf.cast(found, tf.float32)) if variable.dtype.is_floating else found


def _write(handle, rows: tf.Tensor, values: tf.Tensor, dtype) -> None:
    tf.raw_ops.ResourceScatterUpdate(resource=handle, indices=rows, updates=tf.cast(values, dtype))


def _listed(names) -> str:
    return ", ".join(map(repr, names)) or "none"
