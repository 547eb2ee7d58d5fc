"""Measures and classifiers against independent ones, and on degenerate input."""

import itertools
import statistics

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics, preprocessing, svm

from mmv_tf.evaluation import classifiers
from mmv_tf.metrics import classification, retrieval
from mmv_tf.metrics.classification import Measure


@pytest.mark.parametrize("ties", [False, True])
def test_top_k_by_counting(ties):
    rs = np.random.default_rng(3)
    scores, targets = rs.normal(size=(60, 9)), rs.integers(0, 9, 60)
    scores = np.round(scores) if ties else scores
    found = classification.top_k(scores, targets)
    for row, target, *hits in zip(scores, targets, found["top1"], found["top5"], strict=True):
        others = [score for i, score in enumerate(row) if i != target]
        place = 1 + sum(score >= row[target] for score in others)  # behind all that are no worse
        assert hits == [place <= 1, place <= 5]


def test_top_k_is_that_of_scikit_learn():
    rs = np.random.default_rng(0)
    scores, targets = rs.normal(size=(200, 9)), rs.integers(0, 9, 200)
    for k in (1, 5):
        expected = metrics.top_k_accuracy_score(targets, scores, k=k, labels=np.arange(9))
        assert classification.top_k(scores, targets)[f"top{k}"].mean() == pytest.approx(expected)


def test_equal_scores_find_nothing():
    found = classification.top_k(np.zeros((4, 7)), np.arange(4))
    assert not found["top1"].any() and not found["top5"].any()


def test_a_k_that_holds_all_classes_is_left_out():
    assert classification.top_k(np.eye(5), np.arange(5)).keys() == {"top1"}
    assert classification.top_k(np.eye(6), np.arange(6)).keys() == {"top1", "top5"}


def test_nan_scores_are_an_error():
    with pytest.raises(ValueError, match="NaN"):
        classification.top_k(np.full((2, 3), np.nan), np.array([0, 1]))


def _precision_by_counting(truth, score):
    """(recall, precision) after every distinct score, by plain counting."""
    points = []
    for level in sorted(set(score), reverse=True):
        found = [t for t, s in zip(truth, score, strict=True) if s >= level]
        points.append((sum(found) / sum(truth), sum(found) / len(found)))
    return points


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_by_counting(ties):
    rs = np.random.default_rng(1)
    targets, scores = rs.random((60, 3)) < 0.3, rs.normal(size=(60, 3))
    scores = np.round(scores) if ties else scores
    area, eleven = [], []
    for truth, score in zip(targets.T, scores.T, strict=True):
        points = [(0.0, 1.0), *_precision_by_counting(truth, score)]
        area.append(sum((b[0] - a[0]) * b[1] for a, b in itertools.pairwise(points)))
        levels = [i / 10 for i in range(11)]
        eleven.append(np.mean([max(p for r, p in points[1:] if r >= level - 1e-9) for level in levels]))
    np.testing.assert_allclose(classification.average_precision(scores, targets), area)
    np.testing.assert_allclose(classification.average_precision(scores, targets, "11_point"), eleven)


@pytest.mark.parametrize("ties", [False, True])
def test_area_under_roc_by_comparing_all_pairs(ties):
    rs = np.random.default_rng(4)
    targets, scores = rs.random((50, 3)) < 0.3, rs.normal(size=(50, 3))
    scores = np.round(scores) if ties else scores
    expected = []
    for truth, score in zip(targets.T, scores.T, strict=True):
        pairs = list(itertools.product(score[truth], score[~truth]))
        expected.append(sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs))
    found = classification.area_under_roc(scores, targets)
    np.testing.assert_allclose(found, expected)
    value = Measure("d_prime", "area", "d_prime").value(found)
    assert value == pytest.approx(2**0.5 * statistics.NormalDist().inv_cdf(sum(expected) / 3))


def test_nan_scores_have_neither_precision_nor_area():
    targets = np.arange(6)[:, None] % 2 == 0
    for measure in (classification.average_precision, classification.area_under_roc):
        with pytest.raises(ValueError, match="NaN"):
            measure(np.full((6, 1), np.nan), targets)
    with pytest.raises(ValueError, match="NaN"):
        classification.average_precision(np.full((6, 1), np.nan), targets, "11_point")


def test_constant_scores_have_the_precision_of_the_class():
    targets = np.random.default_rng(2).random((200, 2)) < 0.2
    for kind in ("area", "11_point"):
        np.testing.assert_allclose(
            classification.average_precision(np.zeros((200, 2)), targets, kind), targets.mean(axis=0)
        )
    assert classification.area_under_roc(np.zeros((200, 2)), targets) == pytest.approx([0.5, 0.5])


def test_d_prime_of_two_normal_distributions_is_their_distance():
    # Equal variances: the area under the curve is Phi(distance / sqrt(2)) (Green and Swets).
    area = stats.norm.cdf(1.5 / np.sqrt(2))
    assert Measure("d_prime", "area", "d_prime").value(np.array([area])) == pytest.approx(1.5)
    rs = np.random.default_rng(0)
    targets = np.arange(20_000)[:, None] % 2 == 0
    found = classification.area_under_roc(rs.normal(size=(20_000, 1)) + 1.5 * targets, targets)
    assert Measure("d_prime", "area", "d_prime").value(found) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("targets", [np.ones((3, 1), bool), np.zeros((3, 1), bool)])
def test_a_class_of_all_or_none_cannot_be_measured(targets):
    for measure in (classification.average_precision, classification.area_under_roc):
        with pytest.raises(ValueError, match="class 0: all 3 clips of the test set, or none"):
            measure(np.arange(3.0)[:, None], targets)


def test_d_prime_of_a_perfect_ranking_is_a_number():
    assert classification.Measure("d_prime", "area", "d_prime").value(np.ones(3)) == pytest.approx(6.72, abs=0.01)


def test_summaries():
    ranks = np.array([1, 2, 6, 11])
    assert Measure("R@5", "ranks", "recall@5").value(ranks) == 50.0
    assert Measure("MedR", "ranks", "median").value(ranks) == 4.0
    assert Measure("top1", "x", "mean").value(np.array([True, False])) == 50.0


def _clouds(classes, count, seed, spread=1.0):
    """Clouds around fixed centres in 8 dimensions."""
    rs = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(0, 1, (classes, 8))
    targets = rs.integers(0, classes, count)
    return centres[targets] + rs.normal(0, spread, (count, 8)), targets


@pytest.mark.parametrize("classes", [2, 5])
def test_linear_svm_is_scaler_and_machine_one_by_one(classes):
    x, y = _clouds(classes, 150, 0)
    other = _clouds(classes, 40, 1)[0]
    found = classifiers.LinearSVM(C=0.01).fit(x, y)(other)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    machine = svm.LinearSVC(C=0.01, dual=False, random_state=5).fit((x - mean) / deviation, y)
    expected = machine.decision_function((other - mean) / deviation)
    assert found.shape == (40, classes)
    np.testing.assert_allclose(found[:, 1] if classes == 2 else found, expected, atol=1e-3)


def test_linear_svm_with_several_labels_is_one_against_the_rest():
    x, y = _clouds(3, 150, 0)
    several = np.eye(3, dtype=bool)[y]
    several[:20, 0] = True
    found = classifiers.LinearSVM().fit(x, several)(x)
    scaled = preprocessing.scale(x)
    for column in range(3):
        machine = svm.LinearSVC(C=0.001, dual=False).fit(scaled, several[:, column])
        np.testing.assert_allclose(found[:, column], machine.decision_function(scaled), atol=1e-3)


def test_features_that_never_change_do_no_harm():
    x, y = _clouds(3, 60, 0)
    x[:, 2] = 7.0
    assert np.isfinite(classifiers.LinearSVM().fit(x, y)(x)).all()


@pytest.mark.parametrize(
    "classifier",
    [
        classifiers.FactorisedLinear(rank=4, learning_rate=0.02, steps=100),
        classifiers.FactorisedLinear(rank=0, learning_rate=0.02, steps=100),
        classifiers.MLP(hidden=16, learning_rate=0.02, steps=100, batch_size=64),
    ],
)
def test_classifiers_by_gradient_descent_tell_clouds_apart(classifier):
    x, y = _clouds(3, 1600, 0, spread=0.3)  # of few points Keras' time is that of its epochs
    other, wanted = _clouds(3, 100, 1, spread=0.3)
    scores = classifier.fit(x, y)(other)
    assert scores.shape == (100, 3) and classification.top_k(scores, wanted)["top1"].mean() > 0.93


def test_a_seed_fixes_what_is_learned():
    x, y = _clouds(3, 600, 0)
    scores = [classifiers.MLP(hidden=4, steps=10, batch_size=60, seed=seed).fit(x, y)(x) for seed in (1, 1, 2)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    assert not np.allclose(scores[0], scores[2], atol=1e-2)


def test_a_perceptron_with_several_labels():
    x, y = _clouds(3, 1600, 0, spread=0.3)
    targets = np.stack([y == 0, y != 0], axis=1)
    scores = classifiers.MLP(hidden=16, learning_rate=0.02, steps=200, batch_size=64).fit(x, targets)(x)
    assert classification.average_precision(scores, targets).min() > 0.95


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle():
    measure = classification.Measure("MedR", "ranks", "median")
    assert measure.value(np.array([1, 2, 3, 40])) == 2.5 and measure.value(np.array([3, 1, 2])) == 2
    assert retrieval.metrics(np.array([40, 1, 3, 2]))["MedR"] == 2.5
