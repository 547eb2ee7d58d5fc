"""The losses against hand-computed numbers and a plain numpy reading of the formulas."""

import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.model import losses
from mmv_tf.model.losses import Embeddings

TAU = 0.07


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _reference(x, y, x_mask=None, y_mask=None, tau=TAU, normalize=True):
    """Asymmetric MIL-NCE with loops: x [B,d], y [B,K,d]; a sample's loss is LSE(negatives and positives) - LSE(own)."""
    x_mask = np.ones(len(x), bool) if x_mask is None else x_mask
    y_mask = np.ones(y.shape[:2], bool) if y_mask is None else y_mask
    if normalize:
        x, y = _unit(x), _unit(y)
    values = []
    for i in range(len(x)):
        if not x_mask[i] or not y_mask[i].any():
            continue
        own = [x[i] @ y[i, k] / tau for k in range(y.shape[1]) if y_mask[i, k]]
        row = [x[i] @ y[j, k] / tau for j in range(len(x)) for k in range(y.shape[1]) if y_mask[j, k]]
        column = [x[j] @ y[i, k] / tau for j in range(len(x)) if x_mask[j] for k in range(y.shape[1]) if y_mask[i, k]]
        values.append(np.logaddexp.reduce(row + column) - np.logaddexp.reduce(own))
    return np.mean(values)


def _mean(loss, *sides, **settings):
    """The mean loss, on one replica."""
    return loss(*sides, **settings).share()


def _random(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def test_nce_and_mil_nce_equal_the_formula():
    x, y = _random(5, 8), _random(5, 3, 8, seed=1)
    one = _mean(losses.nce, Embeddings.single(x), Embeddings.single(y[:, 0]))
    several = _mean(losses.mil_nce, Embeddings.single(x), Embeddings.single(y))
    np.testing.assert_allclose(one, _reference(x, y[:, :1]), rtol=1e-6)
    np.testing.assert_allclose(several, _reference(x, y), rtol=1e-6)


def test_mil_nce_as_first_published_neither_normalises_nor_divides():
    x, y = _random(4, 8), _random(4, 2, 8, seed=1)
    value = _mean(losses.mil_nce, Embeddings.single(x), Embeddings.single(y), temperature=1.0, normalize=False)
    np.testing.assert_allclose(value, _reference(x, y, tau=1.0, normalize=False), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "chance", "floor"), [(losses.nce, np.log(2 * 6), np.log(2)), (losses.symmetric_nce, 2 * np.log(6), 0.0)]
)
def test_chance_and_floor(loss, chance, floor):
    same = Embeddings.single(np.ones((6, 4), np.float32))
    apart = Embeddings.single(np.eye(6, dtype=np.float32))
    np.testing.assert_allclose(_mean(loss, same, same), chance, rtol=1e-6)
    np.testing.assert_allclose(_mean(loss, apart, apart), floor, atol=1e-4)


def test_two_samples_by_hand():
    # cosines: own 1 and 0.6, across 0 and 0.8, at temperature 1
    x = np.array([[1, 0], [0, 1]], np.float32)
    y = np.array([[1, 0], [0.8, 0.6]], np.float32)
    first = np.log(np.exp(1) + np.exp(0.8) + np.exp(1) + np.exp(0)) - 1.0
    second = np.log(np.exp(0) + np.exp(0.6) + np.exp(0.8) + np.exp(0.6)) - 0.6
    value = _mean(losses.nce, Embeddings.single(x), Embeddings.single(y), temperature=1.0)
    np.testing.assert_allclose(value, (first + second) / 2, rtol=1e-6)
    row, column = np.log(np.exp(1) + np.exp(0.8)), np.log(np.exp(1) + np.exp(0))
    row2, column2 = np.log(np.exp(0) + np.exp(0.6)), np.log(np.exp(0.8) + np.exp(0.6))
    symmetric = _mean(losses.symmetric_nce, Embeddings.single(x), Embeddings.single(y), temperature=1.0)
    np.testing.assert_allclose(symmetric, (row + column - 2 + row2 + column2 - 1.2) / 2, rtol=1e-6)


def test_missing_modalities_leave_the_mean_and_the_denominators():
    x, y = _random(6, 8), _random(6, 3, 8, seed=1)
    x_mask = np.array([1, 1, 0, 1, 1, 1], bool)
    y_mask = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    value = _mean(losses.mil_nce, Embeddings.single(x, x_mask), Embeddings.single(y, y_mask))
    np.testing.assert_allclose(value, _reference(x, y, x_mask, y_mask), rtol=1e-6)


def test_what_is_missing_has_no_gradient_and_changes_nothing():
    mask = np.array([1, 0, 1], bool)

    def gradient(y):
        x = tf.constant(_random(3, 4))
        y = tf.constant(y)
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            value = _mean(losses.nce, Embeddings.single(x), Embeddings.single(y, mask))
        return value, *tape.gradient(value, [x, y])

    y = _random(3, 4, seed=1)
    value, x_gradient, y_gradient = gradient(y)
    assert np.all(y_gradient[1] == 0)
    other = y.copy()
    other[1] = 100.0
    again, x_again, _ = gradient(other)
    np.testing.assert_array_equal(value, again)
    np.testing.assert_array_equal(x_gradient, x_again)


def test_a_batch_without_any_valid_pair_has_no_loss_and_finite_gradients():
    x = tf.constant(_random(3, 4))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = _mean(losses.nce, Embeddings.single(x), Embeddings.single(x, np.zeros(3, bool)))
    assert value == 0
    np.testing.assert_array_equal(tape.gradient(value, x), np.zeros((3, 4)))


def test_nan_is_not_hidden():
    x = _random(3, 4)
    x[1, 2] = np.nan
    assert np.isnan(_mean(losses.nce, Embeddings.single(x), Embeddings.single(_random(3, 4, seed=1))))


def test_shares_of_two_replicas_add_up_to_the_loss_of_the_global_batch():
    x, y = _random(6, 8), _random(6, 2, 8, seed=1)
    mask = np.ones((6, 2), bool)
    mask[1] = mask[4, 1] = False
    whole_x, whole_y = Embeddings.single(x), Embeddings.single(y, mask)
    whole = losses.mil_nce(whole_x, whole_y)
    parts = []
    for part in (slice(0, 2), slice(2, 6)):
        local_x = whole_x._replace(local=whole_x.local[part], mask=whole_x.mask[part], offset=part.start)
        local_y = whole_y._replace(local=whole_y.local[part], mask=whole_y.mask[part], offset=part.start)
        parts.append(losses.mil_nce(local_x, local_y))
    np.testing.assert_allclose(sum(part.share() for part in parts), whole.share(), rtol=1e-6)
    for name in ("loss", "valid", "found", "found_reverse", "positive", "negative"):
        both = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(both, getattr(whole, name), rtol=1e-6, err_msg=name)


def test_nce_refuses_several_candidates():
    with pytest.raises(ValueError, match="use the loss mil_nce"):
        losses.nce(Embeddings.single(_random(3, 4)), Embeddings.single(_random(3, 2, 4)))


def test_found_counts_ties_as_misses():
    x = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    compared = losses.nce(Embeddings.single(x), Embeddings.single(x))
    np.testing.assert_array_equal(compared.found, [True, False, False])
    collapsed = Embeddings.single(np.ones((4, 3), np.float32))
    assert not np.any(losses.nce(collapsed, collapsed).found)


def test_found_by_hand_in_both_directions():
    # cosines of x_i with y_j: [[.6, 1], [.8, 0]]; sample 0 finds y_1, sample 1 finds y_0; the reverse likewise
    x, y = np.array([[0, 1], [1, 0]], np.float32), np.array([[0.8, 0.6], [0, 1]], np.float32)
    compared = losses.nce(Embeddings.single(x), Embeddings.single(y))
    assert not np.any(compared.found) and not np.any(compared.found_reverse)
    z = np.array([[0.8, 0.6], [1, 0]], np.float32)  # cosines [[.6, 0], [.8, 1]]: y_0 is found by both, y_1 by its own
    compared = losses.nce(Embeddings.single(x), Embeddings.single(z))
    np.testing.assert_array_equal(compared.found, [True, True])
    np.testing.assert_array_equal(compared.found_reverse, [False, True])


def test_similarities_are_scaled_and_leave_out_what_is_missing():
    x = np.eye(3, dtype=np.float32)
    y = np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0.6, 0.8], [9, 9, 9]], [[1, 1, 1], [1, 1, 1]]], np.float32)
    mask = np.array([[1, 1], [1, 0], [0, 0]], bool)
    compared = losses.mil_nce(Embeddings.single(x), Embeddings.single(y, mask), temperature=0.5)
    np.testing.assert_array_equal(compared.valid, [True, True, False])
    np.testing.assert_allclose(compared.positive[:2], [2.0, 1.2], rtol=1e-6)
    # sample 0 with y_1 (0); sample 1 with both candidates of y_0 (0 and 1)
    np.testing.assert_allclose(compared.negative[:2], [0.0, 1.0], atol=1e-6)


def test_the_slope_of_short_embeddings_is_bounded_and_long_ones_are_unit_vectors():
    """One sample alone behind a batch norm is 0: its gradient must not drown those of the others."""
    rs = np.random.RandomState(0)
    others = rs.standard_normal((4, 1, 6)).astype(np.float32)

    def gradient(first):
        first = tf.constant(first)
        with tf.GradientTape() as tape:
            tape.watch(first)
            sides = losses.Embeddings.single(first[:, 0]), losses.Embeddings.single(others[:, 0])
            total = losses.nce(*sides).share()
        return tape.gradient(total, first).numpy()

    embeddings = rs.standard_normal((4, 1, 6)).astype(np.float32)
    embeddings[2] = 0
    sizes = np.linalg.norm(gradient(embeddings), axis=-1)[:, 0]
    assert 0 < sizes[2] < 30 * np.median(sizes)
    # From a length of 0.1 on nothing but the direction counts.
    long, short = (losses._unit(tf.constant(scale * others)) for scale in (7.0, 0.11 / 0.9))
    lengths = np.linalg.norm(others, axis=-1)
    assert lengths.min() > 0.9
    np.testing.assert_allclose(long, short, rtol=1e-6)
    np.testing.assert_allclose(tf.norm(long, axis=-1), 1.0, rtol=1e-6)
