"""Losses of heads that classify: their formulas, masks, replicas, and what is logged of them."""

import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from helpers.system_arrays import arrays, normal
from mmv_tf.model.classification import cluster_entropy, order
from mmv_tf.model.graph import Graph
from mmv_tf.model.losses import Embeddings


def test_order_is_the_binary_cross_entropy_of_two_views():
    x, y = normal([5, 1], 1), normal([5, 1], 2)
    mask = np.array([1, 1, 0, 1, 1], bool)
    compared = order(Embeddings.single(x), Embeddings.single(y, mask))
    chances = 1 / (1 + np.exp(-np.concatenate([x[mask], y[mask]])[:, 0]))
    labels = np.repeat([1, 0], 4)
    wanted = -np.mean(labels * np.log(chances) + (1 - labels) * np.log(1 - chances))
    np.testing.assert_allclose(compared.share(), wanted, rtol=1e-5)
    np.testing.assert_array_equal(compared.found, x[:, 0] > 0)
    np.testing.assert_array_equal(compared.found_reverse, y[:, 0] < 0)
    alike = order(*[Embeddings.single(np.zeros((3, 1), np.float32))] * 2)
    np.testing.assert_allclose(alike.share(), np.log(2), rtol=1e-6)  # chance, and nothing is told
    assert not np.any(alike.found) and not np.any(alike.found_reverse)
    with pytest.raises(ValueError, match="order takes one logit a view, and its space has 2 dimensions: set it to 1"):
        order(*[Embeddings.single(np.zeros((3, 2)))] * 2)


def test_the_entropy_of_clusters_is_that_of_aa_av_cc_for_each_side():
    golden, logits = arrays("derived/coincidence"), normal([7, 6], 425)
    side = Embeddings.single(logits)
    np.testing.assert_allclose(cluster_entropy(side, side).share(), golden["cluster_loss_gamma1"], atol=1e-6)
    np.testing.assert_allclose(
        cluster_entropy(side, side, gamma=0.0).share(), golden["cluster_mean_entropy"], rtol=1e-5
    )
    difference = golden["cluster_mean_entropy"] - 3 * golden["cluster_entropy_of_mean"]
    np.testing.assert_allclose(cluster_entropy(side, side, gamma=3.0).share(), difference, rtol=1e-5)
    other = Embeddings.single(normal([7, 6], 3))
    wanted = 0.5 * (cluster_entropy(side, side).share() + cluster_entropy(other, other).share())
    compared = cluster_entropy(side, other)
    np.testing.assert_allclose(compared.share(), wanted, rtol=1e-5)
    np.testing.assert_array_equal(compared.found, logits.argmax(1) == np.array(other.local[:, 0]).argmax(1))


@pytest.mark.parametrize(("loss", "dim"), [(order, 1), (cluster_entropy, 3)])
def test_what_is_missing_is_left_out_and_replicas_add_up(loss, dim):
    x, y, mask = normal([5, dim], 1), normal([5, dim], 2), np.array([1, 0, 1, 1, 1], bool)
    y[1] = 50.0
    whole = Embeddings.single(x), Embeddings.single(y, mask)
    kept = loss(Embeddings.single(x[mask]), Embeddings.single(y[mask])).share()
    np.testing.assert_allclose(loss(*whole).share(), kept, rtol=1e-5)
    parts = [
        loss(*(s._replace(local=s.local[rows], mask=s.mask[rows], offset=rows.start) for s in whole)).share()
        for rows in (slice(0, 2), slice(2, 5))
    ]
    np.testing.assert_allclose(sum(parts), kept, rtol=1e-5)
    nothing = loss(whole[0], Embeddings.single(y, np.zeros(5, bool)))
    assert nothing.share() == 0
    y[2] = np.nan
    assert np.isnan(loss(whole[0], Embeddings.single(y)).share())


def test_logs_say_what_was_told_and_no_spread_of_logits():
    graph = Graph(
        spaces={"order": 1},
        heads=[("video", "order")],
        pairs=[("video", "video_r", "order", {"loss": order})],
        views={"video_r": "video"},
    )
    model, inputs = toy.mmv(graph), toy.batch(6)
    inputs["video_r"] = tf.reverse(inputs["video"], [1])
    total, logs = model.compute_losses({m: inputs[m] for m in graph.inputs}, training=True)
    assert [*logs, "gradient_norm"] == model.log_names == [
        "total_loss", "loss/video_video_r", "told/video_video_r", "norm/video/order", "norm/video_r/order",
        "gradient_norm",
    ]  # fmt: skip
    told, weight = logs["told/video_video_r"]
    np.testing.assert_allclose([total, told / weight], [np.log(2), 0.5], atol=0.2)
