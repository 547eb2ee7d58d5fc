"""Intervals of a measured value: over folds or seeds, over items, and between two results of the same items.

Outcomes are a list of arrays, one a fold: [N] of N items, or [N, S] where S seeds were measured on them. Folds have
items of their own. Seeds share them: they are drawn together, and are no further items. So are the items of one group,
such as the captions of a clip: `groups` is an array [N] of numbers a fold, or None, where every item is a group.
"""

import numpy as np

from mmv_tf.metrics.classification import Measure


def over_folds(values, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of two or more values, one a fold or seed.

    Raises:
      ValueError: there are fewer than two.
    """
    from scipy import stats

    values = np.asarray(values, float)
    if len(values) < 2:
        raise ValueError(f"an interval over folds needs at least 2 values, not {len(values)}")
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def of_share(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of `count` independent answers: of 4 in 23 it is .07 to .37."""
    from scipy import stats

    z = stats.norm.ppf((1 + confidence) / 2)
    middle, spread = share + z * z / (2 * count), z * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return float(max(0, (middle - spread) / scale)), float(min(1, (middle + spread) / scale))


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


def bootstrap(measure: Measure, outcomes, samples: int = 1000, confidence: float = 0.95, seed: int = 0, groups=None):
    """Percentile interval of `mean_of_folds`, groups of items drawn anew inside each fold: (low, high)."""
    found = [mean_of_folds(measure, _rows(outcomes, drawn)) for drawn in _draws(outcomes, groups, samples, seed)]
    return _interval(found, confidence)


def over(measure: Measure, outcomes, groups=None) -> str:
    """What `bootstrap` draws, in words: '200 clips', '200 clips (1000 queries)' or '20 classes'."""
    items = sum(map(len, outcomes))
    if groups is None:
        return f"{items} {measure.items}"
    drawn = sum(len(np.unique(numbers)) for numbers in groups)
    return f"{drawn} clips" + (f" ({items} {measure.items})" if measure.items != "clips" and items != drawn else "")


def paired_difference(
    measure: Measure, first, second, samples: int = 1000, confidence: float = 0.95, seed: int = 0, groups=None
):
    """Difference second - first of a measure of the same items, and its percentile interval by paired bootstrap.

    Returns:
      (difference, low, high).
    Raises:
      ValueError: not the same numbers of folds and items.
    """
    if [len(fold) for fold in first] != [len(fold) for fold in second]:
        raise ValueError("a paired comparison needs the outcomes of the same items")
    found = []
    for drawn in _draws(first, groups, samples, seed):
        sides = [mean_of_folds(measure, _rows(side, drawn)) for side in (first, second)]
        found.append(sides[1] - sides[0])
    return (mean_of_folds(measure, second) - mean_of_folds(measure, first), *_interval(found, confidence))


def _draws(outcomes, groups, samples, seed):
    """Rows of each fold, `samples` times: as many groups as there are, drawn with replacement, with all their items."""
    rs, numbered = np.random.default_rng(seed), []
    for fold, numbers in zip(outcomes, groups or [None] * len(outcomes), strict=True):
        if numbers is not None and len(np.unique(numbers)) < len(fold):
            _, numbers, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
            numbered.append((np.argsort(numbers, kind="stable"), sizes))
        else:
            numbered.append((len(fold), None))
    for _ in range(samples):
        yield [_drawn(rs, *of_fold) for of_fold in numbered]


def _drawn(rs, rows, sizes):
    if sizes is None:
        return rs.integers(0, rows, rows)
    times = np.bincount(rs.integers(0, len(sizes), len(sizes)), minlength=len(sizes))
    return np.repeat(rows, np.repeat(times, sizes))  # `rows` are sorted by their group


def _rows(outcomes, drawn):
    return [fold[rows] for fold, rows in zip(outcomes, drawn, strict=True)]


def _interval(found, confidence) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
