"""Losses against what is kept of each record: its memory, or its row in a table.

The second side of such a pair is 'memory:audio' or 'table:clusters'. Gradients reach the first side's embeddings alone.
Shapes as in `mmv_tf.model.losses`; a sample has one candidate.
"""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import CountOrNone, Positive
from mmv_tf.model.losses import Compared, Embeddings, Told, _one_candidate, _unit


class Remembered(NamedTuple):
    """What the memory of a modality in a space holds for this replica's samples: constants, float32 unit vectors.

    Attributes:
      own: [b, d], of each sample's record.
      negatives: [b, K, d], of the records that were drawn.
      positives: [b, P, d], of the records that `Memory.positives` names; None without a table.
      mask: [b] bool: the modality is there. Of a record that lacks it the memory has learned nothing.
      everyone_mask: [B] bool, of all replicas.
      normaliser: function of exp(scores) [b, k] and valid [b]: Z, the mean over the samples of all replicas the very
        first time that any loss of a run asks, and the same for ever.
      positives_there: [b, P] bool: the table names a record there, and not nothing (-1).
      everyone_positive: [B] bool, of all replicas: the table names at least one. None, as `positives_there`: all.
    """

    own: object
    negatives: object
    positives: object
    mask: object
    everyone_mask: object
    normaliser: Callable
    positives_there: object = None
    everyone_positive: object = None


class Labels(NamedTuple):
    """The rows of a table for this replica's samples.

    Attributes:
      local: [b, width] int32.
      mask: [b] bool: the table has something for the record.
      everyone_mask: [B] bool, of all replicas.
      weight: [b], by what a sample counts where classes are to count alike; None of a table that no pair tells classes
        of.
    """

    local: object
    mask: object
    everyone_mask: object
    weight: object = None


def _of_both(first: Embeddings, second: Remembered | Labels):
    """[b] which samples have both sides, and how many have in the global batch."""
    _one_candidate("this loss", first)
    everyone = first.everyone_mask[:, 0] & second.everyone_mask
    return first.mask[:, 0] & second.mask, ops.sum(ops.cast(everyone, "float32"))


@configurable
def memory_nce(
    first: Embeddings,
    second: Remembered,
    temperature: Positive = 0.07,
    positives: bool = False,
    negatives: CountOrNone = 0,
) -> Compared:
    """Binary NCE of `first` with vectors of a memory, one direction (AVID and AVID-CMA, arXiv 2004.12943).

    With s = <e, m> / temperature, P+ = exp(s+) / (exp(s+) + K Z) and P-_k = K Z / (exp(s_k) + K Z) it is
    -mean log P+ - sum_k log P-_k. Z is the mean of exp(s_k) of the very first call of a run, then fixed.
    The first side's embeddings are made unit vectors.

    Args:
      positives: compare with the records that `Memory.positives` names, averaged in the term of log P+ (CMA), in place
        of the sample's own. Where the table has -1 it names nothing: the mean is over the others, and a sample without
        any does not count.
      negatives: K, so many of those that `Memory.negatives` drew, the first ones; 0: all.
    Raises:
      ValueError: several candidates; positives without a table of them; more negatives than were drawn.
    """
    _one_candidate("memory_nce", first)
    if positives and second.positives is None:
        raise ValueError("memory_nce.positives = True, and Memory.positives names no table of them.")
    drawn = second.negatives.shape[1]
    if negatives > drawn or not drawn:
        raise ValueError(f"memory_nce.negatives = {negatives}, and Memory.negatives = {drawn} are drawn.")
    query = _unit(ops.cast(first.local[:, 0], "float32"))[:, :, None]
    right = second.positives if positives else second.own[:, None]
    wrong = second.negatives[:, : negatives or drawn]
    # As products of matrices: written out, the factors would be as large as all the vectors once more.
    s, others = (ops.matmul(vectors, query)[:, :, 0] / temperature for vectors in (right, wrong))
    z = second.normaliser(ops.exp(ops.stop_gradient(others)), first.mask[:, 0] & second.mask)
    noise = ops.log((negatives or drawn) * z)
    there = ops.ones_like(s, "bool")
    if positives and second.positives_there is not None:
        there = second.positives_there
        mask = second.mask & ops.any(there, axis=1)
        second = second._replace(mask=mask, everyone_mask=second.everyone_mask & second.everyone_positive)
    # softplus(noise - s) is -log P+, and softplus(s_k - noise) is -log P-_k.
    loss = _mean_of(ops.softplus(noise - s), there) + ops.sum(ops.softplus(others - noise), axis=1)
    found = ops.max(ops.where(there, s, -1e9), axis=1) > ops.max(others, axis=1)
    # The ranking goes one way.
    ranked = found, ops.zeros_like(found)
    return Compared(loss, *_of_both(first, second), *ranked, _mean_of(s, there), ops.mean(others, axis=1))


def _mean_of(values, there):
    """[b, P] to [b]: the mean of those that are there; 0 of none."""
    count = ops.sum(ops.cast(there, "float32"), axis=1)
    return ops.sum(ops.where(there, values, 0.0), axis=1) / ops.maximum(count, 1.0)


@configurable
def cross_entropy(first: Embeddings, second: Labels, balanced: bool = False) -> Told:
    """Softmax cross entropy of `first`, a logit a class, with the class that a table says (XDC, arXiv 1911.12667).

    Chance level ln C for C classes, the dimension of the pair's space.

    Args:
      balanced: all classes that have records count alike, and not all records: a sample counts by N / (C n), where n of
        the N records of the table are of its class. The expected gradient is that of drawing clips evenly over classes
        (DeepCluster, XDC); what few records share is seen as seldom as before, and then counts the more.

    Raises:
      ValueError: several candidates, or a table of more than one number a record.
    """
    _one_candidate("cross_entropy", first)
    if second.local.shape[1] != 1:
        raise ValueError(f"cross_entropy takes a table of one class a record, not of {second.local.shape[1]} numbers.")
    logits = ops.cast(first.local[:, 0], "float32")
    classes = logits.shape[1]
    own = ops.one_hot(ops.maximum(second.local[:, 0], 0), classes, dtype="bool")
    positive = ops.sum(ops.where(own, logits, 0.0), axis=1)
    loss = ops.logsumexp(logits, axis=1) - positive
    if balanced:
        loss = loss * second.weight
    right = positive > ops.max(ops.where(own, -1e9, logits), axis=1)
    return Told.of(loss, *_of_both(first, second), right)
