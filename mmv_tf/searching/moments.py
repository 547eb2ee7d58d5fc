"""Moments out of ranked windows: one of each event, few of each file, none that stands for two."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

_RANK_OFFSET = 60  # of reciprocal ranks (Cormack et al., SIGIR 2009)
_STANDS_OUT = 4.0  # robust standard deviations above the median of all windows


class Candidate(NamedTuple):
    """A window that a way of searching has found."""

    window: int
    file: int
    start: float
    end: float
    score: float


def distinct(candidates: Iterable[Candidate], per_file: int) -> Iterator[Candidate]:
    """Those that overlap no better one of their file (non-maximum suppression in time), at most so many of a file.

    Suppression goes by the better window alone: a chain of windows that overlap stays as many moments as it holds.
    """
    taken = {}
    for one in candidates:
        of_file = taken.setdefault(one.file, [])
        if len(of_file) < per_file and all(one.start >= end or one.end <= start for start, end in of_file):
            of_file.append((one.start, one.end))
            yield one


def fused(ways: Sequence[Sequence[Candidate]]) -> list[tuple[Candidate, list[int]]]:
    """Rankings of several ways as one, by the sum of reciprocal ranks; with the numbers of the ways that found each.

    Windows of two ways that overlap in a file are one moment, that of the way in which it ranks higher.
    """
    by_file = {}
    for way, ranking in enumerate(ways):
        for rank, one in enumerate(ranking):
            by_file.setdefault(one.file, []).append((rank, way, one))
    found = []
    for entries in by_file.values():
        moments = []
        for rank, way, one in sorted(entries, key=lambda entry: entry[:2]):
            for moment in moments:
                first = moment[0]
                if way not in moment[1] and one.start < first.end and one.end > first.start:
                    moment[1][way] = rank
                    break
            else:
                moments.append((one, {way: rank}))
        found += moments
    score = {id(ranks): sum(1 / (_RANK_OFFSET + rank) for rank in ranks.values()) for _, ranks in found}
    found.sort(key=lambda moment: (-score[id(moment[1])], moment[0].window))
    return [(one, sorted(ranks)) for one, ranks in found]


def percentile(score: float, all_scores: np.ndarray) -> float:
    """The share of windows, in percent, that score less; of a sample where there are very many."""
    return round(100.0 * float(np.mean(all_scores < score)), 2) if len(all_scores) else 0.0


def stands_out(best: float, all_scores: np.ndarray) -> bool:
    """Whether the best score is far above what windows have that are not meant.

    No cut-off of the cosine: its level differs by query and by pair of modalities. The spread of all windows about
    their median, as the middle half of them has it, says what is usual for this query.
    """
    if len(all_scores) < 20:
        return True  # too few to say that it does not
    low, median, high = np.percentile(all_scores, [25, 50, 75])
    return bool(best - median > _STANDS_OUT * max((high - low) / 1.349, 1e-6))
