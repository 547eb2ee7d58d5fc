"""Intervals of a measured value: over folds or seeds, over items, and between two results of the same items.

Outcomes are a list of arrays, one a fold: [N] of N items, or [N, S] where S seeds were measured on them. Folds have
items of their own. Seeds share them: they are drawn together, and are no further items.
"""

import numpy as np

from mmv_tf.metrics.classification import Measure


def over_folds(values, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of two or more values, one a fold or seed."""
    from scipy import stats

    values = np.asarray(values, float)
    if len(values) < 2:
        raise ValueError(f"an interval over folds needs at least 2 values, not {len(values)}")
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def of_folds(measure: Measure, outcomes) -> list[float]:
    """The value of a measure in each fold: the mean over its seeds."""
    return [float(np.mean([measure.value(seed) for seed in fold.reshape(len(fold), -1).T])) for fold in outcomes]


def mean_of_folds(measure: Measure, outcomes) -> float:
    """The mean over folds of a measure."""
    return float(np.mean(of_folds(measure, outcomes)))


def t_interval(measure: Measure, outcomes, confidence: float = 0.95) -> tuple[float, float, str] | None:
    """Student's t interval, and what it is over: the folds, where there are several, otherwise the seeds.

    Seeds of one fold are no independent draws beside other folds: they count as their mean. None: there is one of both.
    """
    seeds = outcomes[0].reshape(len(outcomes[0]), -1).shape[1]
    if len(outcomes) > 1:
        mean = f", each the mean of {seeds} seeds" if seeds > 1 else ""
        return *over_folds(
            of_folds(measure, outcomes), confidence
        ), f"{confidence:.0%} t over {len(outcomes)} folds{mean}"
    if seeds > 1:
        values = [measure.value(seed) for seed in outcomes[0].T]
        return *over_folds(values, confidence), f"{confidence:.0%} t over {seeds} seeds"
    return None


def bootstrap(measure: Measure, outcomes, samples: int = 1000, confidence: float = 0.95, seed: int = 0):
    """Percentile interval of `mean_of_folds`, items drawn anew inside each fold: (low, high)."""
    found = [mean_of_folds(measure, _rows(outcomes, drawn)) for drawn in _draws(outcomes, samples, seed)]
    return _interval(found, confidence)


def paired_difference(measure: Measure, first, second, samples: int = 1000, confidence: float = 0.95, seed: int = 0):
    """Difference second - first of a measure of the same items, and its percentile interval by paired bootstrap.

    Returns:
      (difference, low, high).
    Raises:
      ValueError: not the same numbers of folds and items.
    """
    if [len(fold) for fold in first] != [len(fold) for fold in second]:
        raise ValueError("a paired comparison needs the outcomes of the same items")
    found = []
    for drawn in _draws(first, samples, seed):
        sides = [mean_of_folds(measure, _rows(side, drawn)) for side in (first, second)]
        found.append(sides[1] - sides[0])
    return (mean_of_folds(measure, second) - mean_of_folds(measure, first), *_interval(found, confidence))


def _draws(outcomes, samples, seed):
    rs = np.random.default_rng(seed)
    for _ in range(samples):
        yield [rs.integers(0, len(fold), len(fold)) for fold in outcomes]


def _rows(outcomes, drawn):
    return [fold[rows] for fold, rows in zip(outcomes, drawn, strict=True)]


def _interval(found, confidence) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
