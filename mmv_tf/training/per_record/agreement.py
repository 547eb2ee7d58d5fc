"""The agreement of records in the memories of several modalities: AVID-CMA's positives (arXiv 2004.12943)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf
import tqdm

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count
from mmv_tf.training.per_record.whole_set import Computation, WholeSet


@configurable
def agreement(
    top: Count = 32,
    table: str = "agreement",
    memories: Sequence[tuple[str, str]] = (),
    join: Literal["least", "greatest"] = "least",
    block: Count = 4096,
) -> Computation:
    """For each record the numbers of those that agree with it most, itself left out, in ascending order.

    How far two records agree is the least cosine that they have in any of the memories; of equal ones the record of
    the smaller number comes first. No pass over the data: it reads the memories of the run, block by block, and holds
    blocks of scores alone. N^2 d multiplications a memory: 26 s for 32,768 records on two cores.

    Args:
      top: how many.
      table: what it is called in the graph.
      memories: (modality, space) of the memories; (): all of the graph.
      join: 'least' (consensus) or 'greatest' (union) of the cosines.
      block: records whose scores with as many others are held at once.
    """
    return Agreement(top, table, tuple(map(tuple, memories)), join, block)


class Agreement(Computation):
    """What `agreement` makes; see there."""

    def __init__(self, top, table, memories, join, block):
        self.top, self.memories, self.join, self.block = top, memories, join, block
        self.table, self.widths = table, {table: top}

    def compute(self, whole: WholeSet) -> dict[str, np.ndarray]:
        """See `Computation.compute`. ValueError: an unknown memory, or fewer records than `top` others."""
        known = list(whole.model.per_record.memories)
        for key in self.memories:
            if key not in known:
                raise ValueError(f"agreement.memories has {key}, and the graph has {', '.join(map(str, known))}.")
        if whole.count <= self.top:
            raise ValueError(f"agreement.top = {self.top}: there are {whole.count} records, each with fewer others.")
        memories = [whole.memory(*key) for key in self.memories or known]
        starts = range(0, whole.count, self.block)
        found = np.empty([whole.count, self.top], np.int32)
        described = f"refresh {whole.number}: agreement"
        for first in tqdm.tqdm(starts, described, delay=5, leave=False, unit="block", disable=not whole.is_chief):
            queries = [_rows(memory, first, self.block) for memory in memories]
            rows = tf.range(first, min(first + self.block, whole.count))
            best = tf.fill([len(rows), 0], 0.0), tf.fill([len(rows), 0], 0)
            for begin in starts:
                keys = [_rows(memory, begin, self.block) for memory in memories]
                best = _better(*best, queries, keys, rows, tf.constant(begin), self.top, self.join)
            found[first : first + self.block] = np.sort(best[1].numpy(), axis=1)
        return {self.table: found}


def _rows(memory: tf.Variable, first: int, count: int) -> tf.Tensor:
    """Rows [first, first + count) of a memory, as far as there are any; without a copy of the others."""
    numbers = tf.range(first, min(first + count, memory.shape[0]))
    return tf.cast(tf.raw_ops.ResourceGather(resource=memory.handle, indices=numbers, dtype=memory.dtype), tf.float32)


@tf.function(reduce_retracing=True)
def _better(scores, numbers, queries, keys, rows, begin, top, join):
    """The `top` best of those known and of a block's, [n, top] scores and numbers of records."""
    cosines = tf.stack([tf.matmul(query, key, transpose_b=True) for query, key in zip(queries, keys, strict=True)])
    block = tf.reduce_min(cosines, 0) if join == "least" else tf.reduce_max(cosines, 0)
    theirs = begin + tf.range(tf.shape(block)[1])
    block = tf.where(rows[:, None] == theirs[None, :], -2.0, block)  # below every cosine
    # Of equal scores top_k takes the first: those of smaller numbers, which come first here, too.
    scores = tf.concat([scores, block], axis=1)
    numbers = tf.concat([numbers, tf.broadcast_to(theirs[None], tf.shape(block))], axis=1)
    scores, places = tf.math.top_k(scores, tf.minimum(top, tf.shape(scores)[1]), sorted=True)
    return scores, tf.gather(numbers, places, batch_dims=1)
