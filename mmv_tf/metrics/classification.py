"""Scores of a classifier to outcomes, one number an item (clip or class), of which every measure is a summary.

Outcomes are kept with a result, so that two results can be compared item by item (`mmv_tf.metrics.intervals`).
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Measure:
    """What is reported.

    Attributes:
      name: such as 'top1', 'mAP', 'text_to_video/R@5'.
      outcome: which outcomes it is a summary of.
      summary: 'mean' (100 times the mean, in %), 'recall@K' (share of ranks up to K, in %), 'median' (of ranks),
        'd_prime' (sqrt(2) times the normal quantile of the mean, which counts as 1 - 1e-6 at most, so that an area
        of 1 has a number: 6.7).
    """

    name: str
    outcome: str
    summary: str

    @property
    def unit(self) -> str:
        return {"median": "rank", "d_prime": ""}.get(self.summary, "%")

    @property
    def items(self) -> str:
        """What the outcomes are of, one each: 'clips', 'classes' or 'queries'."""
        if self.outcome in ("average_precision", "area_under_roc"):
            return "classes"
        return "queries" if self.summary == "median" or self.summary.startswith("recall@") else "clips"

    def value(self, outcomes: np.ndarray) -> float:
        """The measure of outcomes [N]."""
        if self.summary == "mean":
            return 100.0 * float(np.mean(outcomes))
        if self.summary == "median":
            return float(np.median(outcomes))
        if self.summary == "d_prime":
            from scipy.special import ndtri

            return float(np.sqrt(2) * ndtri(np.clip(np.mean(outcomes), 1e-6, 1 - 1e-6)))
        return 100.0 * float(np.mean(outcomes <= int(self.summary.removeprefix("recall@"))))


def top_k(scores: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """{'top1': bool [N], 'top5': ...}: whether the right class is among the k best of scores [N, C].

    Of equal scores the right class counts as the last: a classifier that says the same of all classes finds nothing.
    top5 of five classes or fewer is left out.

    Raises:
      ValueError: NaN in a score.
    """
    if np.isnan(scores).any():
        raise ValueError("a classifier gave NaN: are the features finite, and of more than one value?")
    ranks = (scores >= scores[np.arange(len(targets)), targets][:, None]).sum(axis=1)
    return {f"top{k}": ranks <= k for k in (1, 5) if k < scores.shape[1] or k == 1}


def outcomes(scores: np.ndarray, targets: np.ndarray, kind: str = "area", counted=None) -> dict[str, np.ndarray]:
    """What the scores [N, C] of a classifier are worth: `top_k` for targets int [N]; for targets bool [N, C]
    {'average_precision': [C], 'area_under_roc': [C]}, with arguments and errors as of `average_precision`."""
    if targets.ndim == 1:
        return top_k(scores, targets)
    return {
        "average_precision": average_precision(scores, targets, kind, counted),
        "area_under_roc": area_under_roc(scores, targets, counted),
    }


def measures_of(found) -> list[Measure]:
    """The measures of `outcomes`, the main one first."""
    if "average_precision" in found:
        return [Measure("mAP", "average_precision", "mean"), Measure("d_prime", "area_under_roc", "d_prime")]
    return [Measure(name, name, "mean") for name in found]


def average_precision(scores: np.ndarray, targets: np.ndarray, kind: str = "area", counted=None) -> np.ndarray:
    """Average precision of each class, [C], of scores [N, C] and targets bool [N, C].

    Args:
      kind: 'area', that of scikit-learn (VOC from 2010 on, AudioSet); '11_point', the mean of the greatest precision
        at recalls from 0, .1 ... on (VOC 2007, Everingham et al. 2010, section 4.2).
      counted: bool [N, C], whether a clip counts for a class, as right or as wrong one; None: all do.
    Raises:
      ValueError: a class without a right clip, or with none but right ones; names its number.
    """
    from sklearn import metrics

    if kind not in ("area", "11_point"):
        raise ValueError(f"unknown average precision {kind!r}: 'area' or '11_point'")
    values = []
    for truth, score in _columns(scores, targets, counted):
        if kind == "area":
            values.append(metrics.average_precision_score(truth, score))
            continue
        precision, recall, _ = metrics.precision_recall_curve(truth, score)
        # What scikit-learn adds to the curve, precision 1 at recall 0, is no measurement.
        precision, recall = precision[:-1], recall[:-1]
        values.append(np.mean([precision[recall >= level - 1e-12].max() for level in np.linspace(0, 1, 11)]))
    return np.array(values)


def area_under_roc(scores: np.ndarray, targets: np.ndarray, counted=None) -> np.ndarray:
    """Area under the ROC curve of each class, [C]; arguments and errors as of `average_precision`."""
    from sklearn import metrics

    return np.array([metrics.roc_auc_score(*column) for column in _columns(scores, targets, counted)])


def measurable(targets: np.ndarray, counted=None) -> np.ndarray:
    """Which classes have both clips that are of them and clips that are not, bool [C]; arguments as above."""
    counted = np.ones(targets.shape, bool) if counted is None else counted
    return (targets & counted).any(axis=0) & (~targets & counted).any(axis=0)


def _columns(scores, targets, counted):
    """(targets, scores) of each class: of the clips that count for it."""
    both = measurable(targets, counted)
    if not both.all():
        raise ValueError(
            f"class {both.argmin()}: all {len(targets)} clips of the test set, or none, are of it; leave it out"
        )
    rows = np.ones(targets.shape, bool) if counted is None else counted
    return [(truth[row], score[row]) for truth, score, row in zip(targets.T, scores.T, rows.T, strict=True)]
