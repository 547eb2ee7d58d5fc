"""Zipf's law of cluster sizes: a measure of representations that needs no labels (ELo, arXiv 2002.12177).

What videos show is spread unevenly, a few things often and many seldom. The fitness of a representation is how near the
sizes of its k-means clusters, largest first, come to 1/1, 1/2, 1/3 ... of the largest.
"""

import numpy as np


def divergence(sizes) -> float:
    """KL(shares of the clusters, the largest first || Zipf with the exponent 1), in nats; 0 where they are alike.

    Args:
      sizes: how many samples each of k clusters has, in any order.
    """
    shares = np.sort(np.asarray(sizes, np.float64))[::-1]
    shares = shares / shares.sum()
    law = 1.0 / np.arange(1, len(shares) + 1)
    law /= law.sum()
    there = shares > 0
    return float(np.sum(shares[there] * np.log(shares[there] / law[there])))


def fitness(values: np.ndarray, clusters: int, seed: int = 0) -> float:
    """-`divergence` of the clusters of `values` [N, d]: k-means of unit vectors, the same every time for one `seed`.

    Raises:
      ValueError: fewer values than clusters, or NaN or Inf among them.
    """
    from sklearn.cluster import KMeans  # imported here: it takes a second

    if not np.isfinite(values).all():
        raise ValueError("the embeddings to cluster hold NaN or Inf")
    if len(values) < clusters:
        raise ValueError(f"{len(values)} clips cannot be in {clusters} clusters")
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    found = KMeans(clusters, n_init=3, random_state=seed).fit_predict(unit)
    return -divergence(np.bincount(found, minlength=clusters))
