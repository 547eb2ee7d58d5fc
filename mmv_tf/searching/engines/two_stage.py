"""The search for the nearest of many vectors: exact where they are few, in two stages where they are many.

What every engine is, and NumPy's, which needs nothing else.
"""

from typing import NamedTuple

import numpy as np

EXACT_BELOW = 50_000  # rows; a product with all of them takes some 10 ms
COARSE, RERANKED = 64, 400  # numbers of a vector in the first stage, and rows that come into the second
SAMPLED = 10_000  # rows whose scores say what is usual for a query
_SAMPLE = 20_000  # rows that the first stage is fitted to


def unit(vectors) -> np.ndarray:
    """float32 [..., d] of length 1; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


class Found(NamedTuple):
    """Rows in the order of their scores; `is_exact` if no other row can have a higher one."""

    rows: np.ndarray
    scores: np.ndarray  # cosines
    sample: np.ndarray  # of at most SAMPLED live rows, evenly spaced, exact or of the first stage
    is_exact: bool


NOTHING = Found(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32), True)


class Rows:
    """Unit vectors of one modality in one space, as they lie in the segments. Every engine is one of these, and has

        search(query float [d], number, allowed bool [rows] or None for all that live) -> Found of about `number` rows

    Args:
      parts: list of float16 [n, d], in memory or mapped from the disk.
      is_live: bool [rows]; others are of files that are gone. None: all live.
    """

    def __init__(self, parts, is_live=None):
        self.parts = [part for part in parts if len(part)]
        self.begins = np.cumsum([0, *(len(part) for part in self.parts)])
        self.number, self.dim = int(self.begins[-1]), self.parts[0].shape[1] if self.parts else 0
        self.is_live = np.ones(self.number, bool) if is_live is None else is_live
        live = np.flatnonzero(self.is_live)
        self.sampled = live[:: max(1, len(live) // SAMPLED)]
        self.num_live = len(live)

    def rows(self, numbers) -> np.ndarray:
        """float32 [n, d] of some rows."""
        numbers = np.asarray(numbers, np.int64)
        found = np.empty((len(numbers), self.dim), np.float32)
        of_part = np.searchsorted(self.begins, numbers, side="right") - 1
        for part in np.unique(of_part):
            where = of_part == part
            found[where] = self.parts[part][numbers[where] - self.begins[part]]
        return found

    def exactly(self, query, numbers, sample, is_exact) -> Found:
        """A Found of some rows, by all of their numbers; the query is a unit vector."""
        scores = self.rows(numbers) @ query
        order = np.lexsort((numbers, -scores))
        return Found(numbers[order], scores[order], sample, is_exact)


class FirstStage(Rows):
    """Rows of which, where they are many, COARSE numbers are compared first.

    Args:
      parts, is_live: as in Rows.
      cache: what keeps the first stage from one opening to the next (store.FirstStage), or None.
    """

    def __init__(self, parts, is_live=None, cache=None):
        super().__init__(parts, is_live)
        self.basis, self._cache = None, cache
        if self.number >= EXACT_BELOW and self.dim > COARSE:
            known = cache.basis(self.dim) if cache else None
            self.basis = self._fitted() if known is None else known
            if cache and known is None:
                cache.keep_basis(self.basis)

    def _fitted(self):
        """[d, COARSE]: the directions in which the vectors differ most, orthonormal; without subtracting a mean, so
        that products stay products."""
        rows = np.sort(np.random.default_rng(0).choice(self.number, min(_SAMPLE, self.number), replace=False))
        sample = self.rows(rows)
        return np.linalg.eigh(sample.T @ sample)[1][:, : -COARSE - 1 : -1].astype(np.float32)

    def first(self, part: int) -> np.ndarray:
        """float32 [n, COARSE or d] of a part: what the first stage compares; mapped from the disk where it is kept."""
        vectors = self.parts[part]
        if self.basis is None:
            return np.asarray(vectors, np.float32)
        kept = self._cache.rows(part, len(vectors)) if self._cache else None
        if kept is not None:
            return kept
        made = np.empty((len(vectors), COARSE), np.float32)
        for row in range(0, len(vectors), 65_536):  # never all of them in float32
            made[row : row + 65_536] = np.asarray(vectors[row : row + 65_536], np.float32) @ self.basis
        if self._cache:
            self._cache.keep_rows(part, made)
            kept = self._cache.rows(part, len(vectors))
        return made if kept is None else kept

    def shortened(self, query) -> np.ndarray:
        """The query as the first stage compares it."""
        return query if self.basis is None else query @ self.basis


class Engine(FirstStage):
    """NumPy's: products with all rows of the first stage, which are read from the disk's cache where they are kept."""

    def __init__(self, parts, is_live=None, cache=None):
        super().__init__(parts, is_live, cache)
        self._first = [self.first(part) for part in range(len(self.parts))]

    def search(self, query: np.ndarray, number: int, allowed: np.ndarray | None = None) -> Found:
        """See Rows."""
        if not self.num_live:
            return NOTHING
        query, is_coarse = unit(query), self.basis is not None
        short, scores = self.shortened(query), np.empty(self.number, np.float32)
        for begin, part in zip(self.begins, self._first, strict=False):
            np.matmul(part, short, out=scores[begin : begin + len(part)])
        sample = scores[self.sampled]
        if allowed is not None or self.num_live < self.number:
            scores[~(self.is_live if allowed is None else allowed)] = -np.inf
        number = min(max(number, RERANKED if is_coarse else 0), self.number)
        rows = np.argpartition(-scores, number - 1)[:number] if number < self.number else np.arange(self.number)
        rows = rows[np.isfinite(scores[rows])]
        if is_coarse:
            return self.exactly(query, rows, sample, False)
        order = np.lexsort((rows, -scores[rows]))
        return Found(rows[order], scores[rows[order]], sample, True)
