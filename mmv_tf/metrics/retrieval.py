"""Cross-modal retrieval: where does the right target stand among all targets, for each query?

Conventions (MIL-NCE and MMV, Alayrac et al. 2020, section 4): every query is compared with every target;
recall at k is the share of queries with a relevant target among the first k; MedR is the median of the ranks,
the best rank being 1. The measure is named by the caller, because papers differ: 'dot' (MIL-NCE) or 'cosine'.
Everything is numpy in float64, so that equal embeddings give equal similarities.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

MEASURES = ("cosine", "dot")
TIES = ("pessimistic", "mean")
RECALLS = (1, 5, 10)
# Similarities closer than this share of the query's largest one are a tie: float32 embeddings carry no more.
TIE_TOLERANCE = 1e-9


def common_space(first: str, second: str, spaces: Mapping[str, Collection[str]]) -> str | None:
    """The space in which two modalities are compared, or None if they have none in common.

    Of several it is the one that fewest modalities share: in FAC video and audio share the fine space and, through
    it, the coarse one; the fine one is theirs.

    Args:
      spaces: {modality: names of the spaces that it has embeddings in}.
    """
    shared = [space for space in spaces.get(first, ()) if space in spaces.get(second, ())]
    return min(shared, key=lambda space: sum(space in names for names in spaces.values()), default=None)


def was_trained(first: str, second: str, pairs: Collection[frozenset[str]] | None) -> bool | None:
    """Whether two modalities were compared in training, a picture as a video that stands still; one is, with itself.

    Args:
      pairs: the modalities that were (`Graph.modalities_compared`); None: not known, and so is the answer.
    """
    if pairs is None:
        return None
    pair = frozenset("video" if one == "image" else one for one in (first, second))
    return len(pair) == 1 or pair in pairs


def same(embeddings: np.ndarray, one: np.ndarray) -> np.ndarray:
    """bool [N]: which of embeddings [N, d] are one [d] or [1, d], but for the rounding of float32.

    Of texts without any word that a network knows, all are the embedding of the empty text.
    """
    return np.isclose(embeddings, one, rtol=1e-4, atol=1e-6).all(axis=1)


def _checked(name: str, embeddings) -> np.ndarray:
    array = np.asarray(embeddings, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] == 0:
        raise ValueError(f"{name}: expected embeddings of shape [N, d] with N >= 1, got {list(array.shape)}")
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name}: {int(bad.sum())} of {len(array)} embeddings hold NaN or Inf, first at row {bad.argmax()}"
        )
    return array


def similarity(queries, targets, measure: str = "cosine") -> np.ndarray:
    """Similarity [Q, N] of embeddings [Q, d] and [N, d]. The cosine with a zero vector is defined as 0.

    Raises:
      ValueError: embeddings are none, hold NaN or Inf, or are not of one space; or there is no such measure.
    """
    queries, targets = _checked("queries", queries), _checked("targets", targets)
    if queries.shape[1] != targets.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions, targets {targets.shape[1]}: not the same space")
    return _unit(queries, measure) @ _unit(targets, measure).T


def _unit(embeddings: np.ndarray, measure: str) -> np.ndarray:
    if measure == "dot":
        return embeddings
    if measure != "cosine":
        raise ValueError(f"unknown measure {measure!r}: one of {', '.join(MEASURES)}")
    norm = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.divide(embeddings, norm, out=np.zeros_like(embeddings), where=norm > 0)


class Relevance:
    """Which targets count as right for a query.

    `Relevance.same_index(n)`: target i for query i. `Relevance.same_group(a, b)`: every target whose group (a game,
    a caption, a class: any value) is the query's. `Relevance(matrix)`: a bool matrix [Q, N].
    """

    def __init__(self, matrix):
        matrix = np.asarray(matrix, dtype=bool)
        self._rows = lambda start, stop: matrix[start:stop]
        self.shape = matrix.shape

    @classmethod
    def same_index(cls, count: int) -> "Relevance":
        return cls.same_group(range(count), range(count))

    @classmethod
    def same_group(cls, query_groups: Sequence, target_groups: Sequence) -> "Relevance":
        both = np.asarray([*query_groups, *target_groups])
        ids = np.unique(both, return_inverse=True)[1].reshape(-1)
        query_ids, target_ids = ids[: len(query_groups)], ids[len(query_groups) :]
        self = cls.__new__(cls)
        # One block of rows at a time: the whole matrix would need Q x N bytes.
        self._rows = lambda start, stop: query_ids[start:stop, None] == target_ids[None, :]
        self.shape = (len(query_ids), len(target_ids))
        return self

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Bool [stop - start, N]. Error if a query has no relevant target at all: it could never be found."""
        rows = self._rows(start, stop)
        none = ~rows.any(axis=1)
        if none.any():
            raise ValueError(f"query {start + int(none.argmax())} has no relevant target: leave it out or add one")
        return rows


def _block_rows(num_targets: int, block_bytes: int) -> int:
    return max(1, block_bytes // (8 * max(1, num_targets)))


def ranks(
    queries,
    targets,
    relevance: Relevance | None = None,
    *,
    measure: str = "cosine",
    ties: str = "pessimistic",
    block_bytes: int = 64 << 20,
) -> np.ndarray:
    """Rank (from 1) of the best-placed relevant target of each query, float64 [Q].

    ties='pessimistic' puts a relevant target behind the irrelevant ones of the same similarity, so a network that
    maps everything to one point finds nothing; 'mean' takes the expected rank over all orders of the tied targets.
    Memory beyond the embeddings is a few times `block_bytes`. Raises ValueError for NaN or Inf, for different
    dimensions, and for a query without a relevant target.
    """
    if ties not in TIES:
        raise ValueError(f"unknown ties {ties!r}: one of {', '.join(TIES)}")
    queries, targets = _checked("queries", queries), _checked("targets", targets)
    if queries.shape[1] != targets.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions, targets {targets.shape[1]}: not the same space")
    if relevance is None:
        if len(queries) != len(targets):
            raise ValueError(f"{len(queries)} queries and {len(targets)} targets: say which targets are relevant")
        relevance = Relevance.same_index(len(queries))
    if relevance.shape != (len(queries), len(targets)):
        raise ValueError(f"relevance is {relevance.shape}, the embeddings make {(len(queries), len(targets))}")
    queries, targets = _unit(queries, measure), _unit(targets, measure)
    result = np.empty(len(queries))
    step = _block_rows(len(targets), block_bytes)
    for start in range(0, len(queries), step):
        stop = min(start + step, len(queries))
        scores = queries[start:stop] @ targets.T
        relevant = relevance.rows(start, stop)
        best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
        tolerance = TIE_TOLERANCE * np.abs(scores).max(axis=1, keepdims=True)
        ahead = (scores > best + tolerance).sum(axis=1)
        tied = np.abs(scores - best) <= tolerance
        tied_wrong, tied_right = (tied & ~relevant).sum(axis=1), (tied & relevant).sum(axis=1)
        if ties == "pessimistic":
            result[start:stop] = 1 + ahead + tied_wrong
        else:  # The smallest of r places drawn from n is (n + 1) / (r + 1) on average.
            result[start:stop] = ahead + (tied_wrong + tied_right + 1) / (tied_right + 1)
    return result


def nearest(query, targets, right, measure: str = "cosine") -> np.ndarray:
    """All targets [N, d] by their similarity to one query [d], the most similar first: indices [N].

    Of the same similarity those that are right (bool [N]) come last, as in pessimistic `ranks`, then the later ones.
    """
    scores = similarity([query], targets, measure)[0]
    rounded = np.round(scores / (np.abs(scores).max() or 1.0) / TIE_TOLERANCE)
    return np.lexsort((right, -rounded))


def metrics(query_ranks: np.ndarray, recalls: Sequence[int] = RECALLS) -> dict[str, float]:
    """{'R@1': share in [0, 1], ..., 'MedR': median rank} of ranks [Q] that start at 1.

    Raises:
      ValueError: there is no rank, or one that is below 1 or not finite.
    """
    query_ranks = np.asarray(query_ranks, dtype=np.float64)
    if query_ranks.size == 0 or not np.isfinite(query_ranks).all() or (query_ranks < 1).any():
        raise ValueError("ranks must be finite numbers >= 1, at least one of them")
    result = {f"R@{k}": float(np.mean(query_ranks <= k)) for k in recalls}
    result["MedR"] = float(np.median(query_ranks))
    return result


def retrieval(
    queries, targets, relevance: Relevance | None = None, recalls: Sequence[int] = RECALLS, **options
) -> dict[str, float]:
    """`metrics(ranks(...), recalls)`: R@1, R@5, R@10 and MedR; the options are those of `ranks`."""
    return metrics(ranks(queries, targets, relevance, **options), recalls)


def chance(relevance: Relevance, recalls: Sequence[int] = RECALLS, block_bytes: int = 64 << 20) -> dict[str, float]:
    """What a random order of the targets gives on average, exactly.

    With r relevant among N targets, P(best rank > k) = C(N - r, k) / C(N, k). Recall is averaged over the queries;
    MedR is the median of the mixture of their rank distributions, (N + 1) / 2 for a single relevant target.
    """
    num_queries, num_targets = relevance.shape
    step = _block_rows(num_targets, block_bytes)
    counts = np.concatenate(
        [relevance.rows(s, min(s + step, num_queries)).sum(axis=1) for s in range(0, num_queries, step)]
    )
    places = np.arange(num_targets, dtype=np.float64)
    found = np.zeros(num_targets)  # found[k - 1] = mean over queries of P(best rank <= k)
    for relevant, queries in zip(*np.unique(counts, return_counts=True), strict=True):
        missed = np.cumprod(np.maximum(num_targets - relevant - places, 0) / (num_targets - places))
        found += (1 - missed) * queries / num_queries
    result = {f"R@{k}": float(found[min(k, num_targets) - 1]) for k in recalls}
    # The middle of the lower and the upper median, as np.median takes it of a sample.
    lower = np.argmax(found >= 0.5 - 1e-12) + 1
    upper = np.argmax(found > 0.5 + 1e-12) + 1
    result["MedR"] = float(lower + upper) / 2
    return result
