"""Clusters of all training records: the classes that XDC's networks learn to tell (arXiv 1911.12667).

    train.refresh = @Refresh()
    Refresh.what = @clusters()
    clusters.k = 256
    clusters.of = {'video_clusters': ('video',), 'audio_clusters': ('audio',)}
    Graph.pairs = [
        ('video', 'table:audio_clusters', 'of_audio', {'loss': @cross_entropy}),
        ('audio', 'table:video_clusters', 'of_video', {'loss': @cross_entropy}),
    ]

A class is a number without a meaning, another one after each refresh: heads that tell classes begin anew with them.
"""

import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count
from mmv_tf.training.per_record.whole_set import Computation, WholeSet


@configurable
def clusters(
    k: Count = 256,
    of: Mapping[str, Sequence[str]] | None = None,
    iterations: Count = 30,
    sample: Count = 100_000,
    normalize: bool = True,
    batch_size: Count = 16,
    folder: str | os.PathLike = "",
) -> Computation:
    """For each record the number of the k-means cluster that its representation, before the heads, is in.

    One pass of the networks over the data, whose output lies in a file meanwhile; then scikit-learn's mini-batch
    k-means of a sample, begun by k-means++; then rounds over all records (Lloyd) until none changes its cluster. A
    cluster that becomes empty keeps its centre. All of it is a function of the networks and the seed of the refresh; in
    memory are the sample and a block of records.

    Args:
      k: clusters, the dimension of the space that they are told in.
      of: {table: modalities}; the vectors of several stand side by side. None: 'video_clusters' and 'audio_clusters'.
      iterations: rounds over all records at most.
      sample: records to begin with.
      normalize: unit vectors, of each modality by itself.
      batch_size: clips embedded at once.
      folder: for the file, 4 bytes a number of each record; '' is the system's.
    """
    of = {"video_clusters": ("video",), "audio_clusters": ("audio",)} if of is None else of
    tables = {table: tuple(modalities) for table, modalities in of.items()}
    return Clusters(k, tables, iterations, sample, normalize, batch_size, folder)


class Clusters(Computation):
    """What `clusters` makes; see there."""

    def __init__(self, k, tables, iterations, sample, normalize, batch_size, folder):
        self.k, self.tables, self.iterations, self.sample = k, tables, iterations, sample
        self.normalize, self.batch_size, self.folder = normalize, batch_size, folder
        self.widths = dict.fromkeys(tables, 1)

    def compute(self, whole: WholeSet) -> dict[str, np.ndarray]:
        """See `Computation.compute`.

        Raises:
          ValueError: an unknown modality, a space of another dimension than `k`, or fewer records than clusters.
        """
        graph, found = whole.model.graph, {}
        telling = [pair for pair in graph.pairs if pair.table in self.tables]
        for pair in telling:
            if graph.spaces[pair.space] != self.k:
                raise ValueError(
                    f"clusters.k = {self.k}, and pair {pair} tells them in a space of {graph.spaces[pair.space]} "
                    "dimensions: set both alike."
                )
        for modality in (modality for modalities in self.tables.values() for modality in modalities):
            if modality not in graph.modalities:
                raise ValueError(f"clusters.of names {modality!r}; the graph has {', '.join(graph.modalities)}.")
        self.resets = tuple(dict.fromkeys(str(graph.path(pair.first, pair.space)[-1]) for pair in telling))
        with tempfile.TemporaryDirectory(prefix="mmv_tf-", dir=self.folder or None) as folder:
            features, present = self._features(whole, folder)
            for table, modalities in self.tables.items():
                rows = np.flatnonzero(np.logical_and.reduce([present[modality] for modality in modalities]))
                if len(rows) < self.k:
                    have = f"{len(rows)} records have {' and '.join(modalities)}"
                    raise ValueError(f"clusters.k = {self.k}: {have}, fewer than clusters.")
                vectors = Vectors([features[modality] for modality in modalities], rows)
                seed = zlib.crc32(table.encode(), whole.seed)
                centres = beginning(vectors.some(np.random.RandomState(seed), self.sample), self.k, seed)
                labels, centres, inertia = lloyd(vectors, centres, self.iterations)
                sizes = np.bincount(labels, minlength=self.k)
                whole.say(
                    f"{table}: {len(rows):,} records in {np.sum(sizes > 0)} of {self.k} clusters of up to "
                    f"{sizes.max():,}, the smallest {sizes[sizes > 0].min():,}, {len(inertia)} rounds, mean squared "
                    f"distance {inertia[-1] / len(rows):.4f}"
                )
                found[table] = np.full([whole.count, 1], -1, np.int32)
                found[table][rows, 0] = labels
        return found

    def _features(self, whole: WholeSet, folder: str):
        """{modality: [N, D] float32 in a file} and {modality: bool [N], whether the record has it}."""
        wanted = dict.fromkeys(modality for modalities in self.tables.values() for modality in modalities)
        features: dict[str, np.memmap] = {}
        present = {modality: np.zeros(whole.count, bool) for modality in wanted}
        for first, clips in whole.embeddings(self.batch_size):
            for modality in wanted:
                values = clips.embeddings[modality, "repr"]
                if modality not in features:
                    shape = (whole.count, values.shape[1])
                    features[modality] = np.memmap(os.path.join(folder, modality), np.float32, "w+", shape=shape)
                if self.normalize:
                    values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
                here = present[modality][first : first + len(values)] = clips.present[modality]
                if not np.isfinite(values[here]).all():
                    raise ValueError(f"the representation of {modality} is NaN or Inf after {whole.number} refreshes")
                features[modality][first : first + len(values)] = values
        return features, present


class Vectors:
    """Rows of arrays side by side, of which blocks are read.

    Args:
      parts: arrays [N, D], [N, D'] ...
      rows: numbers of the rows that count, ascending.
      block: how many are read at once.
    """

    def __init__(self, parts: Sequence[np.ndarray], rows: np.ndarray, block: int = 1 << 15):
        self._parts, self._rows, self._block = parts, rows, block

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        for first in range(0, len(self._rows), self._block):
            yield self._read(self._rows[first : first + self._block])

    def some(self, rs: np.random.RandomState, most: int) -> np.ndarray:
        """At most so many of them, drawn without replacement, in their order."""
        if len(self._rows) <= most:
            return self._read(self._rows)
        return self._read(np.sort(rs.choice(self._rows, most, replace=False)))

    def _read(self, rows):
        return np.concatenate([np.asarray(part[rows]) for part in self._parts], axis=1)


def beginning(values: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Centres [k, D] of mini-batch k-means of `values` [n, D], ten passes, begun by k-means++. It moves no centre to a
    far sample: where a cluster is empty it keeps its centre."""
    from sklearn.cluster import MiniBatchKMeans

    batch = min(len(values), max(4096, 4 * k))
    settings = {"batch_size": batch, "n_init": 1, "max_iter": 10, "reassignment_ratio": 0.0, "random_state": seed}
    return MiniBatchKMeans(k, **settings).fit(values).cluster_centers_


def lloyd(vectors: Sequence[np.ndarray] | Vectors, centres: np.ndarray, iterations: int):
    """k-means from given centres, over blocks of vectors; an empty cluster keeps its centre.

    Args:
      vectors: an iterable of blocks [n, D], the same each time.
      centres: [k, D].
      iterations: at most; it ends before where no vector changes its cluster.
    Returns:
      (int32 [N], the nearest centre of each vector; the centres [k, D] that follow from it; the sum of squared
      distances in each iteration)
    """
    from scipy.sparse import csr_array
    from sklearn.metrics import pairwise_distances_argmin_min

    labels, inertia = None, []
    centres = np.asarray(centres, np.float32)
    for _ in range(iterations):
        sums, sizes = np.zeros(centres.shape), np.zeros(len(centres), np.int64)
        parts, total = [], 0.0
        for block in vectors:
            nearest, squares = pairwise_distances_argmin_min(block, centres, metric="sqeuclidean")
            members = csr_array((np.ones(len(block)), nearest, np.arange(len(block) + 1)), (len(block), len(centres)))
            sums += members.T @ block
            sizes += np.bincount(nearest, minlength=len(centres))
            parts.append(nearest.astype(np.int32))
            total += float(squares.sum(dtype=np.float64))
        before, labels = labels, np.concatenate(parts)
        inertia.append(total)
        if before is not None and np.array_equal(before, labels):
            break
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres).astype(np.float32)
    return labels, centres, inertia
