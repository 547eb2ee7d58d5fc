"""Contrastive losses: pure functions of embeddings and masks.

Every loss compares this replica's samples with the samples of *all* replicas, in both directions, and returns the
losses of this replica's samples. Their `Compared.share`s add up, over the replicas, to the mean over the samples of the
global batch that have both modalities, and so do the gradients, as long as the gather in `Embeddings.everyone` has an
exact gradient. Notation: b samples on this replica, B in the global batch, K candidates a sample (1 for video and
sound, several for narrations), d the dimension of the space.
"""

from typing import NamedTuple

from keras import ops

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive

# Similarity of what is missing: low enough that exp() of it is 0, and finite, so that gradients stay finite.
_ABSENT = -1e9
# What is shorter is not made a unit vector, but divided by this: the slope is at most its inverse. One sample alone
# behind a batch norm is 0 to the last bit, and would drown the gradient of all others. Embeddings of networks are far
# longer: the shortest of the untrained gin/fac.gin has 0.6 (a narration of one word), released ones 7 and more.
_SHORTEST = 0.1


class Embeddings(NamedTuple):
    """One modality in one space: this replica's samples, and those of all replicas.

    Attributes:
      local: [b, K, d], raw (not normalised).
      mask: [b, K] bool, False where there is nothing to compare.
      everyone: [B, K, d], `local` of all replicas in the order of the replicas.
      everyone_mask: [B, K] bool.
      offset: position of this replica's first sample in `everyone` (an integer or an integer scalar).
    """

    local: object
    mask: object
    everyone: object
    everyone_mask: object
    offset: object = 0

    @classmethod
    def single(cls, embeddings, mask=None):
        """From one replica's embeddings [b, d] or [b, K, d] and mask [b] or [b, K]; nothing is gathered."""
        embeddings = ops.convert_to_tensor(embeddings)
        if len(embeddings.shape) == 2:
            embeddings = embeddings[:, None]
        mask = ops.ones(ops.shape(embeddings)[:2], "bool") if mask is None else ops.cast(mask, "bool")
        if len(mask.shape) == 1:
            mask = mask[:, None]
        return cls(embeddings, mask, embeddings, mask)


class Compared(NamedTuple):
    """What a loss says of this replica's samples. Without meaning where `valid` is False.

    Attributes:
      loss: [b] float32.
      valid: [b] bool: both modalities are there.
      count: scalar float32: valid samples in the global batch.
      found, found_reverse: [b] bool: the sample's second modality is nearer to its first than anyone else's second, and
        the reverse. A tie is a miss, so that collapsed embeddings find nothing. Of several candidates the best counts.
      positive, negative: [b] float32: similarity over temperature with itself (the best candidate), and the mean with
        the second modality of all others.
    """

    loss: object
    valid: object
    count: object
    found: object
    found_reverse: object
    positive: object
    negative: object

    def share(self):
        """This replica's part of the mean loss; 0 for a batch that has no valid sample at all."""
        return ops.sum(ops.where(self.valid, self.loss, 0.0)) / ops.maximum(self.count, 1.0)


class _Comparison(NamedTuple):
    rows: object  # [b, K1, B, K2]: this replica's first modality with everyone's second
    columns: object  # [b, K2, B, K1]: this replica's second modality with everyone's first
    positives: object  # [b, K1 * K2]: a sample with itself
    own: object  # [b, B] bool, True at a sample's own place
    valid: object  # [b] bool: both modalities are present
    count: object  # scalar: valid samples in the global batch

    def compared(self, loss) -> Compared:
        """The result of a loss whose values are `loss` [b]."""
        others = ~self.own[:, None, :, None] & (self.rows > _ABSENT / 2)
        negatives = ops.sum(ops.where(others, self.rows, 0.0), axis=(1, 2, 3))
        negative = negatives / ops.maximum(ops.sum(ops.cast(others, "float32"), axis=(1, 2, 3)), 1.0)
        found, found_reverse = self._found(self.rows), self._found(self.columns)
        return Compared(loss, self.valid, self.count, found, found_reverse, ops.max(self.positives, axis=1), negative)

    def _found(self, similarities):
        best = ops.max(similarities, axis=(1, 3))
        own = ops.max(ops.where(self.own, best, 2 * _ABSENT), axis=1, keepdims=True)
        return ~ops.any(~(best < own) & ~self.own, axis=1)  # written so that NaN finds nothing


def _similarities(one: Embeddings, other: Embeddings, temperature: float, normalize: bool):
    """[b, K1, B, K2] similarities of `one` here with `other` everywhere; what is absent gets a very low one."""
    left, right = ops.cast(one.local, "float32"), ops.cast(other.everyone, "float32")
    if normalize:
        left, right = _unit(left), _unit(right)
    similarity = ops.tensordot(left, right, axes=[[2], [2]]) / temperature
    present = one.mask[:, :, None, None] & other.everyone_mask[None, None, :, :]
    return ops.where(present, similarity, _ABSENT)


def _unit(x):
    # Not ops.normalize: under XLA its gradient is NaN where x is 0, as an absent narration can be.
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), _SHORTEST**2))


def _compare(first: Embeddings, second: Embeddings, temperature: float, normalize: bool) -> _Comparison:
    rows = _similarities(first, second, temperature, normalize)
    columns = _similarities(second, first, temperature, normalize)
    b, k1, everyone, k2 = (ops.shape(rows)[axis] for axis in range(4))
    own = ops.arange(everyone)[None, :] == (ops.arange(b) + first.offset)[:, None]
    positives = ops.max(ops.where(own[:, None, :, None], rows, 2 * _ABSENT), axis=2)
    valid = ops.any(first.mask, axis=1) & ops.any(second.mask, axis=1)
    both = ops.any(first.everyone_mask, axis=1) & ops.any(second.everyone_mask, axis=1)
    count = ops.sum(ops.cast(both, "float32"))
    return _Comparison(rows, columns, ops.reshape(positives, (b, k1 * k2)), own, valid, count)


def _flat(similarities):
    return ops.reshape(similarities, (ops.shape(similarities)[0], -1))


@configurable
def mil_nce(first: Embeddings, second: Embeddings, temperature: Positive = 0.07, normalize: bool = True) -> Compared:
    """MIL-NCE over the global batch, in the reference's asymmetric form (paper section 3.2, equation 3).

    For a sample, the numerator sums over its candidates, and the denominator over one concatenation: its first
    modality with everyone's second, and everyone's first with its second. The positives stand in both halves, so
    that the floor is ln 2 and the chance level is ln(2B) for K = 1 (the authors' reading: MIL-NCE_HowTo100M
    issue 4). `normalize=False, temperature=1` is MIL-NCE as first published (arXiv 1912.06430).

    Returns:
      Compared. A sample that lacks one of the two modalities is not valid; the modality that it has stays a negative
      for others.
    """
    c = _compare(first, second, temperature, normalize)
    everything = ops.concatenate([_flat(c.rows), _flat(c.columns)], axis=1)
    return c.compared(ops.logsumexp(everything, axis=1) - ops.logsumexp(c.positives, axis=1))


def _one_candidate(first: Embeddings, second: Embeddings, loss: str):
    for side in (first, second):
        if side.local.shape[1] != 1:
            raise ValueError(
                f"{loss} compares one candidate a sample, and got {side.local.shape[1]}: "
                "use the loss mil_nce in the graph, or InputPipeline.max_candidates = 1."
            )


@configurable
def nce(first: Embeddings, second: Embeddings, temperature: Positive = 0.07, normalize: bool = True) -> Compared:
    """NCE over the global batch (paper section 3.2, equation 2): `mil_nce` with one candidate a sample.

    Raises:
      ValueError: one of the modalities has several candidates.
    """
    _one_candidate(first, second, "nce")
    return mil_nce(first, second, temperature=temperature, normalize=normalize)


@configurable
def symmetric_nce(
    first: Embeddings, second: Embeddings, temperature: Positive = 0.07, normalize: bool = True
) -> Compared:
    """Two softmaxes, one a direction, summed: chance level 2 ln B, floor 0 (VATT's SymmetricNCE)."""
    _one_candidate(first, second, "symmetric_nce")
    c = _compare(first, second, temperature, normalize)
    both = ops.logsumexp(_flat(c.rows), axis=1) + ops.logsumexp(_flat(c.columns), axis=1)
    return c.compared(both - 2 * ops.logsumexp(c.positives, axis=1))
