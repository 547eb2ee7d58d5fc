"""k-NN by cosine: 1 where classes lie apart, chance where they do not, clear words for sets that cannot work."""

import math

import numpy as np
import pytest

from mmv_tf.metrics import knn


def _classes(count, seed=0, noise=0.1):
    """Three directions, with lengths that say nothing."""
    rs = np.random.RandomState(seed)
    labels = np.arange(count) % 3
    points = np.eye(3, 8)[labels] + noise * rs.standard_normal((count, 8))
    return points * rs.uniform(0.01, 100, (count, 1)), labels


def test_separable_classes_are_all_found():
    assert knn.accuracy(*_classes(30), *_classes(20, seed=1)) == (1.0, 7 / 20)


def test_random_embeddings_are_found_by_chance():
    rs = np.random.RandomState(0)
    labels = rs.randint(0, 4, 2000)
    found, majority = knn.accuracy(rs.standard_normal((2000, 8)), labels, rs.standard_normal((2000, 8)), labels)
    assert found == pytest.approx(0.25, abs=0.04)
    assert majority == pytest.approx(0.25, abs=0.04)


def test_majority_is_the_class_that_the_training_set_has_most():
    points = np.random.RandomState(0).standard_normal((6, 4))
    assert knn.accuracy(points, [5, 5, 5, 5, 2, 2], points[:4], [2, 2, 2, 5], num_neighbours=1)[1] == 0.25


def test_the_vote_is_among_k():
    train, labels = np.array([[1, 0.0], [1, 0.1], [1, 0.2], [0, 1]]), [7, 8, 8, 9]
    assert knn.accuracy(train, labels, [[1, 0.0]], [7], num_neighbours=1)[0] == 1.0
    assert knn.accuracy(train, labels, [[1, 0.0]], [8], num_neighbours=3)[0] == 1.0


@pytest.mark.parametrize("k", [1, 5, 8])
def test_neighbours_by_loops(k):
    """Angles by hand and votes by counting; of classes with as many votes the first one wins, as in scikit-learn."""
    (train, labels), (test, wanted) = _classes(60, noise=0.6), _classes(40, seed=1, noise=0.6)
    right = 0
    for point, label in zip(test, wanted, strict=True):
        angles = [math.acos(np.dot(point, x) / math.dist(point, 0 * point) / math.dist(x, 0 * x)) for x in train]
        near = [labels[i] for i in sorted(range(60), key=angles.__getitem__)[:k]]
        votes = [near.count(name) for name in range(3)]
        right += votes.index(max(votes)) == label
    assert 10 < right < 40
    assert knn.accuracy(train, labels, test, wanted, num_neighbours=k)[0] == right / 40


def test_embeddings_that_are_all_the_same_find_one_class_alone():
    found, majority = knn.accuracy(np.ones((9, 2)), [0, 1, 2] * 3, np.ones((6, 2)), [0, 1, 2] * 2)
    assert found == majority == pytest.approx(1 / 3)


def test_nan_in_what_is_classified_is_an_error():
    with pytest.raises(ValueError, match="the embeddings to test hold NaN or Inf"):
        knn.accuracy(np.ones((9, 2)), [0, 1, 2] * 3, [[np.nan, 1.0]], [0])


@pytest.mark.parametrize(
    ("train", "labels", "message"),
    [
        (np.ones((3, 2)), [0, 1, 2], "3 labelled clips cannot give 5 neighbours"),
        (np.ones((9, 2)), [4] * 9, "all 9 labelled clips are of class 4"),
        (np.ones((9, 2)), [5, 6, 7] * 3, "of other classes than the labelled ones"),
        (np.full((9, 2), np.nan), [0, 1, 2] * 3, "NaN or Inf"),
    ],
)
def test_sets_that_cannot_work_are_refused(train, labels, message):
    with pytest.raises(ValueError, match=message):
        knn.accuracy(train, labels, np.ones((2, 2)), [0, 1])
