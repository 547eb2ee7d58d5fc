"""Losses of heads that classify: their numbers are logits, and no vectors that are compared by an angle.

Graph.spaces = {'order': 1, 'clusters': 256}
Graph.pairs = [
    ('video', 'video_r', 'order', {'loss': @order}),
    ('audio', 'audio_2', 'clusters', {'loss': @cluster_entropy}),
]
"""

from keras import ops

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import NotNegative
from mmv_tf.model.losses import Embeddings, Told, _one_candidate


@configurable
def order(first: Embeddings, second: Embeddings) -> Told:
    """Whether a view is the first of the two, such as a clip as it is and the clip backwards (ELo, arXiv 2002.12177).

    Binary cross-entropy of one logit a view, the mean of the two: chance level ln 2, floor 0.

    Raises:
      ValueError: the space has more than one dimension, or one of the views has several candidates.
    """
    _one_candidate("order", first, second)
    if first.local.shape[-1] != 1:
        raise ValueError(
            f"order takes one logit a view, and its space has {first.local.shape[-1]} dimensions: set it to 1 in "
            "Graph.spaces."
        )
    one, other = first.local[:, 0, 0], second.local[:, 0, 0]
    loss = 0.5 * (ops.softplus(-one) + ops.softplus(other))
    return Told.of(loss, *_of_both(first, second)[:2], one > 0, other < 0)


@configurable
def cluster_entropy(first: Embeddings, second: Embeddings, gamma: NotNegative = 1.0) -> Told:
    """Each sample in one cluster, and all clusters in use (arXiv 1911.05894).

    Mean entropy - gamma * entropy of the mean, of the softmax over the dimensions of the space, for each side by itself
    over the samples of the global batch that have both; the mean of the two sides. The least value is -gamma ln k. Sign
    and gamma are our defaults: no code was found. Told right is a sample whose two sides are in one cluster.

    Raises:
      ValueError: one of the sides has several candidates.
    """
    _one_candidate("cluster_entropy", first, second)
    valid, count, everyone = _of_both(first, second)
    loss = 0.0
    for side in (first, second):
        shares = ops.where(everyone[:, None], ops.softmax(side.everyone[:, 0]), 0.0)
        mean = ops.sum(shares, axis=0) / ops.maximum(count, 1.0)
        of_mean = -ops.sum(mean * ops.log(ops.maximum(mean, 1e-30)))
        logits = side.local[:, 0]
        entropy = -ops.sum(ops.softmax(logits) * ops.log_softmax(logits), axis=-1)
        loss += 0.5 * (entropy - gamma * of_mean)
    clusters = [ops.argmax(side.local[:, 0], axis=-1) for side in (first, second)]
    return Told.of(loss, valid, count, clusters[0] == clusters[1])


def _of_both(first: Embeddings, second: Embeddings):
    """[b] which samples have both sides, how many have in the global batch, and [B] which."""
    everyone = first.everyone_mask[:, 0] & second.everyone_mask[:, 0]
    return first.mask[:, 0] & second.mask[:, 0], ops.sum(ops.cast(everyone, "float32")), everyone
