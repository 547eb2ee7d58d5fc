"""faiss as the engine of an index: the same two stages, the first in half floats, so in half of NumPy's memory."""

import faiss
import numpy as np

from mmv_tf.searching.engines import two_stage
from mmv_tf.searching.engines.two_stage import Found, unit


class Engine(two_stage.FirstStage):
    """All rows where they are few; where they are many, COARSE numbers as half floats, and the best again by all.

    faiss's own PCA subtracts a mean, after which products are others: the directions are NumPy's. Graphs and inverted
    lists are left out, since they lose what is asked with videos that are not in the index (docs/search.md).
    """

    def __init__(self, parts, is_live=None, cache=None):
        super().__init__(parts, is_live, cache)
        product = faiss.METRIC_INNER_PRODUCT
        if self.basis is None:
            self._index = faiss.IndexFlat(max(1, self.dim), product)
        else:
            half = faiss.ScalarQuantizer.QT_fp16
            self._index = faiss.IndexScalarQuantizer(two_stage.COARSE, half, product)
        for part in range(len(self.parts)):
            self._index.add(np.ascontiguousarray(self.first(part), np.float32))
        self._sample = self.rows(self.sampled)

    def search(self, query: np.ndarray, number: int, allowed: np.ndarray | None = None) -> Found:
        """See two_stage.Rows."""
        if not self.num_live:
            return two_stage.NOTHING
        query, is_coarse = unit(query), self.basis is not None
        number = min(max(number, two_stage.RERANKED if is_coarse else 0), self.number)
        parameters = None
        if allowed is not None or self.num_live < self.number:
            bits = np.packbits(self.is_live if allowed is None else allowed, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        _, (rows,) = self._index.search(self.shortened(query)[None], number, params=parameters)
        return self.exactly(query, rows[rows >= 0], self._sample @ query, not is_coarse)
