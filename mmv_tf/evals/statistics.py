"""How sure a measured value is: over folds or seeds, over items, and between two results of the same items."""

import numpy as np

from mmv_tf.evals.measures import Measure


def over_folds(values, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of two or more values, one a fold or seed."""
    from scipy import stats

    values = np.asarray(values, float)
    if len(values) < 2:
        raise ValueError(f"an interval over folds needs at least 2 values, not {len(values)}")
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def mean_of_folds(measure: Measure, outcomes) -> float:
    """The mean over folds of a measure; outcomes: a list of arrays [N], one a fold."""
    return float(np.mean([measure.value(fold) for fold in outcomes]))


def bootstrap(measure: Measure, outcomes, samples: int = 1000, confidence: float = 0.95, seed: int = 0):
    """Percentile interval of `mean_of_folds`, items drawn anew inside each fold: (low, high)."""
    return _interval([mean_of_folds(measure, [fold[rows] for fold, rows in drawn]) for drawn in _draws(
        outcomes, samples, seed)], confidence)  # fmt: skip


def paired_difference(measure: Measure, first, second, samples: int = 1000, confidence: float = 0.95, seed: int = 0):
    """Difference second - first of a measure of the same items, and its percentile interval by paired bootstrap.

    Returns:
      (difference, low, high).
    Raises:
      ValueError: not the same numbers of folds and items.
    """
    if [len(fold) for fold in first] != [len(fold) for fold in second]:
        raise ValueError("a paired comparison needs the outcomes of the same items")
    both = [np.stack([a, b], axis=1) for a, b in zip(first, second, strict=True)]
    found = []
    for drawn in _draws(both, samples, seed):
        sides = [mean_of_folds(measure, [fold[rows, side] for fold, rows in drawn]) for side in (0, 1)]
        found.append(sides[1] - sides[0])
    return (mean_of_folds(measure, second) - mean_of_folds(measure, first), *_interval(found, confidence))


def _draws(outcomes, samples, seed):
    rs = np.random.default_rng(seed)
    for _ in range(samples):
        yield [(fold, rs.integers(0, len(fold), len(fold))) for fold in outcomes]


def _interval(found, confidence) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
