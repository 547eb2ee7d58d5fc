"""Retrieval metrics against values worked out by hand."""

import itertools

import numpy as np
import pytest

from mmv_tf.metrics import retrieval as r

AXES = np.eye(3)


def test_similarity_measures():
    queries, targets = [[3.0, 4.0]], [[6.0, 8.0], [4.0, -3.0], [0.0, 0.0]]
    np.testing.assert_allclose(r.similarity(queries, targets, "dot"), [[50, 0, 0]])
    np.testing.assert_allclose(r.similarity(queries, targets, "cosine"), [[1, 0, 0]], atol=1e-15)
    with pytest.raises(ValueError, match="unknown measure 'l2'"):
        r.similarity(queries, targets, "l2")


def test_ranks_by_hand():
    # Similarities (dot): query 0 -> 3 > 2 > 1, query 1 -> 1 > 0.5 > 0, query 2 -> all 3 targets in reverse.
    targets = AXES
    queries = [[3, 2, 1], [1, 0.5, 0], [9, 8, 7]]
    np.testing.assert_array_equal(r.ranks(queries, targets, measure="dot"), [1, 2, 3])
    assert r.retrieval(queries, targets, measure="dot") == {
        "R@1": pytest.approx(1 / 3),
        "R@5": 1.0,
        "R@10": 1.0,
        "MedR": 2.0,
    }


def test_dot_and_cosine_differ_by_the_length_of_the_targets():
    queries, targets = [[1.0, 0.2], [0.2, 1.0]], [[1.0, 0.0], [5.0, 5.0]]
    np.testing.assert_array_equal(r.ranks(queries, targets, measure="cosine"), [1, 1])
    np.testing.assert_array_equal(r.ranks(queries, targets, measure="dot"), [2, 1])


def test_ties():
    # Target 0 (right) ties with targets 1 and 2; target 3 is behind.
    queries, targets = [[1.0, 0.0]], [[1, 0], [1, 0], [2, 0], [0, 1]]
    one = r.Relevance([[True, False, False, False]])
    assert r.ranks(queries, targets, one) == [3]
    assert r.ranks(queries, targets, one, ties="mean") == [2]
    two = r.Relevance([[True, True, False, False]])
    assert r.ranks(queries, targets, two) == [2]
    # Orders of {R, R, W}: the first R stands at 1, 1, 2: on average 4/3.
    assert r.ranks(queries, targets, two, ties="mean") == [pytest.approx(4 / 3)]
    with pytest.raises(ValueError, match="unknown ties"):
        r.ranks(queries, targets, two, ties="best")


def test_a_collapsed_network_finds_nothing():
    same = np.full((7, 4), 0.3, np.float32)
    assert r.retrieval(same, same) == {"R@1": 0.0, "R@5": 0.0, "R@10": 1.0, "MedR": 7.0}
    np.testing.assert_array_equal(r.ranks(same, same, ties="mean"), np.full(7, 4.0))


def test_the_nearest_are_in_the_order_that_the_ranks_count():
    # Targets 0 (right), 1 and 2 are alike; 3 is nearer, 4 (right) is opposite. Lengths say nothing.
    targets = np.array([[1, 1], [2, 2], [3, 3], [4, 1], [-1, 0.0]])
    right = np.array([True, False, False, False, True])
    assert r.nearest([1.0, 0.0], targets, right).tolist() == [3, 1, 2, 0, 4]
    assert r.nearest([1.0, 0.0], targets, right, "dot").tolist() == [3, 2, 1, 0, 4]
    rng = np.random.default_rng(0)
    queries, targets = rng.integers(-1, 2, (30, 3)), rng.integers(-1, 2, (40, 3))  # many are alike, some are zero
    relevance = r.Relevance.same_group(np.arange(30) % 4, np.arange(40) % 4)
    for index, rank in enumerate(r.ranks(queries, targets, relevance)):
        right = relevance.rows(index, index + 1)[0]
        assert np.flatnonzero(right[r.nearest(queries[index], targets, right)])[0] + 1 == rank


def test_several_relevant_targets_count_by_the_best():
    relevance = r.Relevance.same_group(["pong", "tetris"], ["tetris", "pong", "pong"])
    queries, targets = [[3, 2, 1], [1, 2, 3]], AXES
    np.testing.assert_array_equal(r.ranks(queries, targets, relevance, measure="dot"), [2, 3])


@pytest.mark.parametrize("block_bytes", [1, 8 * 40 * 7, 1 << 20])
def test_blocks_change_nothing(block_bytes):
    rng = np.random.default_rng(0)
    queries, targets = rng.normal(size=(23, 5)), rng.normal(size=(40, 5))
    groups = rng.integers(0, 4, 23), np.arange(40) % 4
    scores = r.similarity(queries, targets)
    matrix = groups[0][:, None] == groups[1][None, :]
    expected = [1 + sum(s > max(row[m]) for s in row) for row, m in zip(scores, matrix, strict=True)]
    got = r.ranks(queries, targets, r.Relevance.same_group(*groups), block_bytes=block_bytes)
    np.testing.assert_array_equal(got, expected)
    assert r.chance(r.Relevance.same_group(*groups), block_bytes=block_bytes)["R@1"] == pytest.approx(0.25)


def test_chance_of_one_relevant_target():
    assert r.chance(r.Relevance.same_index(20)) == {
        "R@1": pytest.approx(0.05),
        "R@5": pytest.approx(0.25),
        "R@10": pytest.approx(0.5),
        "MedR": 10.5,
    }
    assert r.chance(r.Relevance.same_index(7)) == {
        "R@1": pytest.approx(1 / 7),
        "R@5": pytest.approx(5 / 7),
        "R@10": 1.0,
        "MedR": 4.0,
    }


def test_chance_equals_the_mean_over_all_orders():
    relevance = r.Relevance([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0]])
    best = [
        [1 + min(order.index(i) for i in right) for order in itertools.permutations(range(5))]
        for right in ([0, 1], [2])
    ]
    got = r.chance(relevance, recalls=(1, 2, 3))
    for k in (1, 2, 3):
        assert got[f"R@{k}"] == pytest.approx(np.mean(np.array(best) <= k))
    assert got["MedR"] == np.median(best)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_an_error_that_names_the_row(bad):
    broken = AXES.copy()
    broken[1, 2] = bad
    with pytest.raises(ValueError, match="targets: 1 of 3 embeddings hold NaN or Inf, first at row 1"):
        r.ranks(AXES, broken)
    with pytest.raises(ValueError, match="queries"):
        r.similarity(broken, AXES)
    with pytest.raises(ValueError, match="finite"):
        r.metrics([1.0, bad])


def test_wrong_shapes_and_missing_relevance_are_errors():
    with pytest.raises(ValueError, match="3 dimensions, targets 2"):
        r.ranks(AXES, AXES[:, :2])
    with pytest.raises(ValueError, match="3 queries and 2 targets"):
        r.ranks(AXES, AXES[:2])
    with pytest.raises(ValueError, match="query 1 has no relevant target"):
        r.ranks(AXES[:2], AXES, r.Relevance.same_group("ab", "acc"))
    with pytest.raises(ValueError, match="shape"):
        r.ranks(np.zeros((0, 3)), AXES)


def test_two_modalities_are_compared_where_fewest_others_are():
    spaces = {"video": ("vat", "va"), "audio": ("vat", "va"), "text": ("vat",), "smell": ()}
    assert r.common_space("video", "audio", spaces) == "va"
    assert r.common_space("audio", "text", spaces) == r.common_space("text", "video", spaces) == "vat"
    assert r.common_space("smell", "video", spaces) is None


def test_a_picture_was_trained_as_a_video():
    pairs = {frozenset(("video", "text")), frozenset(("video", "audio"))}
    assert r.was_trained("text", "image", pairs) and r.was_trained("image", "video", set())
    assert r.was_trained("text", "audio", pairs) is False and r.was_trained("text", "audio", None) is None
