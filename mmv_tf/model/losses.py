"""Losses of pairs, contrastive and others: pure functions of embeddings and masks.

Every loss compares this replica's samples with the samples of *all* replicas, and returns the losses of this replica's
samples. Their `Compared.share`s add up, over the replicas, to the mean over the samples of the global batch that have
both modalities, and so do the gradients, as long as the gather in `Embeddings.everyone` has an exact gradient.
Notation: b samples on this replica, B in the global batch, K candidates a sample (1 for video and sound, several for
narrations), d the dimension of the space.

What a pair names in `against` comes as further arguments: other views of the second side, with which the first is
compared as with samples that are not its own; `against_own`, which the pair gives with them, says whether the sample's
own entry there counts.
"""

import inspect
from typing import Literal, NamedTuple

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

    def constant(self):
        """The same without a gradient."""
        return self._replace(local=ops.stop_gradient(self.local), everyone=ops.stop_gradient(self.everyone))


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


class Told(Compared):
    """What a loss of heads that classify says: nothing is found among others, and nothing is similar.

    `found` and `found_reverse` are whether the first and the second side are told right. A loss that returns this says
    so by its annotation, and logs follow (`mmv_tf.model.step_logs`).
    """

    @classmethod
    def of(cls, loss, valid, count, *right):
        """From losses [b], `valid` [b], `count`, and whether the first side, or each of the two, is told right [b]."""
        nothing = ops.zeros_like(loss)
        return cls(loss, valid, count, right[0], right[-1], nothing, nothing)


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


def _nearness(one: Embeddings, other: Embeddings, normalize: bool):
    """[b, K1, B, K2] distances of `one` here to `other` everywhere with the sign changed; to be looked at only."""
    left, right = (ops.stop_gradient(ops.cast(x, "float32")) for x in (one.local, other.everyone))
    left, right = (_unit(left), _unit(right)) if normalize else (left, right)
    squares = ops.sum(ops.square(left), axis=-1)[:, :, None, None] + ops.sum(ops.square(right), axis=-1)
    nearness = -ops.sqrt(ops.maximum(squares - 2 * ops.tensordot(left, right, axes=[[2], [2]]), 0.0))
    return ops.where(one.mask[:, :, None, None] & other.everyone_mask[None, None, :, :], nearness, _ABSENT)


def _unit(x, shortest: float = _SHORTEST):
    # Not ops.normalize: under XLA its gradient is NaN where x is 0, as an absent narration can be.
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), shortest**2))


def _compare(first: Embeddings, second: Embeddings, temperature: float, normalize: bool) -> _Comparison:
    rows = _similarities(first, second, temperature, normalize)
    columns = _similarities(second, first, temperature, normalize)
    return _comparison(first, second, rows, columns)


def _comparison(first: Embeddings, second: Embeddings, rows, columns) -> _Comparison:
    b, k1, everyone, k2 = (ops.shape(rows)[axis] for axis in range(4))
    own = ops.arange(everyone)[None, :] == (ops.arange(b) + first.offset)[:, None]
    positives = ops.max(ops.where(own[:, None, :, None], rows, 2 * _ABSENT), axis=2)
    valid = ops.any(first.mask, axis=1) & ops.any(second.mask, axis=1)
    both = ops.any(first.everyone_mask, axis=1) & ops.any(second.everyone_mask, axis=1)
    count = ops.sum(ops.cast(both, "float32"))
    return _Comparison(rows, columns, ops.reshape(positives, (b, k1 * k2)), own, valid, count)


def _compare_scores(first: Embeddings, second: Embeddings, rows, columns) -> _Comparison:
    """The comparison of two sides of one candidate by scores that something else than the cosine gave.

    Args:
      rows: [b, B], this replica's first modality with everyone's second.
      columns: [b, B], this replica's second modality with everyone's first.
    """
    rows = ops.where(first.mask & second.everyone_mask[:, 0], rows, _ABSENT)
    columns = ops.where(second.mask & first.everyone_mask[:, 0], columns, _ABSENT)
    return _comparison(first, second, rows[:, None, :, None], columns[:, None, :, None])


def _flat(similarities):
    return ops.reshape(similarities, (ops.shape(similarities)[0], -1))


def _further(first: Embeddings, others, own, temperature: float, normalize: bool, with_own: bool) -> list:
    """[b, B * K] similarities of `first` here with each of `others` everywhere, a sample's own left out or not."""
    found = []
    for other in others:
        similarities = _similarities(first, other, temperature, normalize)
        found.append(_flat(similarities if with_own else ops.where(own[:, None, :, None], _ABSENT, similarities)))
    return found


def takes_others(loss) -> bool:
    """Whether a loss takes what a pair names in `against`, and `against_own` with it."""
    parameters = inspect.signature(loss).parameters
    return "against_own" in parameters and any(one.kind is one.VAR_POSITIONAL for one in parameters.values())


def needs_own(loss) -> bool:
    """Whether of what a pair names in `against` the sample's own entry is all that a loss compares with."""
    own = inspect.signature(loss).parameters.get("against_own")
    return own is not None and own.annotation == Literal[True]


def classifies(loss) -> bool:
    """Whether a loss is of heads that classify, so that it ranks nothing."""
    return inspect.signature(loss).return_annotation is Told


def takes_score(loss) -> bool:
    """Whether a loss compares by the scorer of a pair, which it then needs."""
    return "score" in inspect.signature(loss).parameters


def takes_second(loss):
    """The type that a loss states for its second side; None if it states none."""
    stated = [one.annotation for one in inspect.signature(loss).parameters.values()][1:2]
    return next((one for one in stated if one is not inspect.Parameter.empty), None)


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


def _one_candidate(loss: str, *sides: Embeddings):
    for side in sides:
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
    _one_candidate("nce", first, second)
    return mil_nce(first, second, temperature=temperature, normalize=normalize)


@configurable
def symmetric_nce(
    first: Embeddings, second: Embeddings, temperature: Positive = 0.07, normalize: bool = True
) -> Compared:
    """Two softmaxes, one a direction, summed: chance level 2 ln(B K), floor 0 (VATT's SymmetricNCE).

    Of several candidates the numerators sum over a sample's own, as in `mil_nce`.
    """
    c = _compare(first, second, temperature, normalize)
    both = ops.logsumexp(_flat(c.rows), axis=1) + ops.logsumexp(_flat(c.columns), axis=1)
    return c.compared(both - 2 * ops.logsumexp(c.positives, axis=1))


@configurable
def info_nce(
    first: Embeddings,
    second: Embeddings,
    *others: Embeddings,
    temperature: Positive = 0.07,
    normalize: bool = True,
    stop_keys: bool = False,
    against_own: bool = False,
) -> Compared:
    """One softmax, of `first` with everyone's `second`: a pair and its reverse are the two directions.

    With `stop_keys` as GDT has it (arXiv 2003.04298; facebookresearch/GDT, gdt_helper.py), where gradients reach the
    queries alone. `others` join the denominator. Chance level ln B, floor 0.

    Args:
      stop_keys: `second` and `others` are constants.
      against_own: whether a sample's own entry in `others` is in the denominator.
    """
    keys = [side.constant() if stop_keys else side for side in (second, *others)]
    c = _compare(first, keys[0], temperature, normalize)
    further = _further(first, keys[1:], c.own, temperature, normalize, against_own)
    everything = ops.concatenate([_flat(c.rows), *further], axis=1)
    return c.compared(ops.logsumexp(everything, axis=1) - ops.logsumexp(c.positives, axis=1))


@configurable
def nt_xent(
    first: Embeddings,
    second: Embeddings,
    *others: Embeddings,
    temperature: Positive = 0.1,
    normalize: bool = True,
    against_own: bool = False,
) -> Compared:
    """SimCLR's and CVRL's loss: each of the two views against everyone's both, itself left out.

    The sum over the two views of the mean over the batch, as both references compute it (google-research/simclr,
    tf2/objective.py; tensorflow/models, video_ssl): twice the mean over 2B rows of SimCLR's paper (arXiv 2002.05709).
    Chance level 2 ln(2B - 1), floor 0. `others` join both denominators.

    Raises:
      ValueError: one of the views has several candidates.
    """
    _one_candidate("nt_xent", first, second)
    c, total = _compare(first, second, temperature, normalize), 0.0
    for view, across in ((first, c.rows), (second, c.columns)):
        within = _further(view, [view], c.own, temperature, normalize, with_own=False)
        further = _further(view, others, c.own, temperature, normalize, against_own)
        total += ops.logsumexp(ops.concatenate([_flat(across), *within, *further], axis=1), axis=1)
    return c.compared(total - 2 * ops.logsumexp(c.positives, axis=1))


@configurable
def margin(
    first: Embeddings,
    second: Embeddings,
    *others: Embeddings,
    margin: Positive = 0.99,
    normalize: bool = False,
    against_own: Literal[True] = True,
) -> Compared:
    """AVTS's loss (arXiv 1807.00230): D^2 of pairs that belong together, max(margin - D, 0)^2 of pairs that do not.

    D is the Euclidean distance. The mean is over all pairs that are there: each sample makes one pair that belongs
    together, and one that does not with the `second` of the next sample of the global batch; or with its own entry in
    each of `others`, where such are given. The similarities that it logs are distances with the sign changed.

    Args:
      against_own: of `others` there is nothing else to compare with, so that a pair has to say it.

    Raises:
      ValueError: one of the sides has several candidates.
    """
    _one_candidate("margin", first, second, *others)
    c = _comparison(first, second, _nearness(first, second, normalize), _nearness(second, first, normalize))

    def squares(one, other):
        one, other = (ops.cast(x, "float32") for x in (one, other))
        one, other = (_unit(one), _unit(other)) if normalize else (one, other)
        return ops.sum(ops.square(one - other), axis=(1, 2))

    def following(x):
        return ops.roll(x, -1, axis=0)

    negatives = [(side.local, side.mask[:, 0], side.everyone_mask[:, 0]) for side in others]
    if not others:
        is_other = ops.shape(second.everyone)[0] > 1
        place = ops.argmax(ops.cast(c.own, "int32"), axis=1)
        there = following(second.everyone_mask[:, 0]) & is_other
        negatives = [(ops.take(following(second.everyone), place, axis=0), ops.take(there, place, axis=0), there)]
    query, queries = first.mask[:, 0], first.everyone_mask[:, 0]
    pairs = [(squares(first.local, second.local), query & second.mask[:, 0], queries & second.everyone_mask[:, 0])]
    for other, mask, everyone in negatives:
        # The square root has no slope at 0; what is so near lies deep inside the margin anyway.
        distance = ops.sqrt(ops.maximum(squares(first.local, other), 1e-12))
        pairs.append((ops.square(ops.maximum(margin - distance, 0.0)), query & mask, queries & everyone))
    loss = sum(ops.where(mask, value, 0.0) for value, mask, _ in pairs)
    valid = ops.any(ops.stack([mask for _, mask, _ in pairs]), axis=0)
    everyone = ops.stack([ops.cast(mask, "float32") for _, _, mask in pairs])
    count, number = ops.sum(ops.max(everyone, axis=0)), ops.maximum(ops.sum(everyone), 1.0)
    return c._replace(valid=valid, count=count).compared(loss * count / number)


@configurable
def regression(
    first: Embeddings,
    second: Embeddings,
    stop: Literal["first", "second"] | None = "second",
    normalize: bool = True,
    shortest: Positive = 1e-5,
) -> Compared:
    """Half the squared distance of two unit vectors, 1 - cosine, of which one is a constant (BraVe, arXiv 2103.16559).

    Without `normalize` of the vectors as they are; of weight 2 that is ELo's distillation (arXiv 2002.12177).

    Args:
      stop: the side that gets no gradient; None: both get one.
      shortest: what is shorter is divided by this in place of its length.
    Raises:
      ValueError: one of the sides has several candidates.
    """
    _one_candidate("regression", first, second)
    sides = [ops.cast(side.constant().local if side_is == stop else side.local, "float32")
             for side, side_is in ((first, "first"), (second, "second"))]  # fmt: skip
    one, other = (_unit(side, shortest) for side in sides) if normalize else sides
    c = _compare(first.constant(), second.constant(), temperature=1.0, normalize=normalize)
    return c.compared(0.5 * ops.sum(ops.square(one - other), axis=(1, 2)))
