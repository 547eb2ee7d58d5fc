"""The search for the nearest of many vectors: exact where they are few, in two stages where they are many."""

from typing import NamedTuple

import numpy as np

EXACT_BELOW = 50_000  # rows; a product with all of them takes some 10 ms
COARSE, RERANKED = 64, 400  # numbers of a vector in the first stage, and rows that come into the second
_SAMPLE = 20_000  # rows that the first stage is fitted to


def unit(vectors) -> np.ndarray:
    """float32 [..., d] of length 1; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


class Found(NamedTuple):
    """Rows in the order of their scores; `is_exact` if no other row can have a higher one."""

    rows: np.ndarray
    scores: np.ndarray  # cosines
    all_scores: np.ndarray  # of every row, exact or of the first stage
    is_exact: bool


class Engine:
    """Unit vectors of one modality in one space.

    Args:
      parts: list of float16 [n, d], in memory or mapped from the disk.
      cache: what keeps the first stage of many rows from one opening to the next (store.FirstStage), or None.
    """

    def __init__(self, parts, cache=None):
        self._parts = [part for part in parts if len(part)]
        self._begins = np.cumsum([0, *(len(part) for part in self._parts)])
        self.number = int(self._begins[-1])
        self._dim = self._parts[0].shape[1] if self._parts else 0
        self._basis, is_coarse = None, self.number >= EXACT_BELOW and self._dim > COARSE
        if is_coarse:
            known = cache.basis(self._dim) if cache else None
            self._basis = self._fitted() if known is None else known
            if cache and known is None:
                cache.keep_basis(self._basis)
        self._first = np.empty((self.number, COARSE if is_coarse else self._dim), np.float32)
        for number, (begin, part) in enumerate(zip(self._begins, self._parts, strict=False)):
            here = self._first[begin : begin + len(part)]
            kept = cache.rows(number, len(part)) if cache and is_coarse else None
            if kept is not None:
                here[:] = kept
                continue
            for row in range(0, len(part), 65_536):  # never all of them in float32
                rows = np.asarray(part[row : row + 65_536], np.float32)
                here[row : row + len(rows)] = rows @ self._basis if is_coarse else rows
            if cache and is_coarse:
                cache.keep_rows(number, here)

    def _fitted(self):
        """[d, COARSE]: the directions in which the vectors differ most, orthonormal; without subtracting a mean, so
        that products stay products."""
        rows = np.sort(np.random.default_rng(0).choice(self.number, min(_SAMPLE, self.number), replace=False))
        sample = self.rows(rows)
        return np.linalg.eigh(sample.T @ sample)[1][:, : -COARSE - 1 : -1].astype(np.float32)

    def rows(self, numbers) -> np.ndarray:
        """float32 [n, d] of some rows."""
        numbers = np.asarray(numbers, np.int64)
        found = np.empty((len(numbers), self._dim), np.float32)
        of_part = np.searchsorted(self._begins, numbers, side="right") - 1
        for part in np.unique(of_part):
            where = of_part == part
            found[where] = self._parts[part][numbers[where] - self._begins[part]]
        return found

    def search(self, query: np.ndarray, number: int, allowed: np.ndarray | None = None) -> Found:
        """The `number` rows with the highest cosine to a query.

        Args:
          query: float [d].
          allowed: bool [rows]; None for all.
        """
        if not self.number:
            return Found(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32), True)
        query = unit(query)
        is_coarse = self._basis is not None
        scores = self._first @ (query @ self._basis if is_coarse else query)
        counted = scores if allowed is None else np.where(allowed, scores, -np.inf)
        number = min(max(number, RERANKED if is_coarse else 0), self.number)
        rows = np.argpartition(-counted, number - 1)[:number] if number < self.number else np.arange(self.number)
        rows = rows[np.isfinite(counted[rows])]
        exact = self.rows(rows) @ query if is_coarse else scores[rows]
        order = np.lexsort((rows, -exact))
        return Found(rows[order], exact[order], scores, not is_coarse)
