"""Draws of the bootstrap: every item, and every group, can come."""

import numpy as np
import pytest

from mmv_tf.metrics import intervals
from mmv_tf.metrics.classification import Measure

MEAN = Measure("top1", "top1", "mean")


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("captions", [1, 3])
def test_each_item_is_drawn_as_often_as_any_other(place, captions):
    outcomes = np.zeros(5 * captions)
    outcomes[place * captions : (place + 1) * captions] = 1
    groups = None if captions == 1 else [np.repeat(np.arange(5), captions)]
    drawn = list(intervals._draws([outcomes[:, None]], groups, 4000, 0))
    shares = [outcomes[rows].mean() for (rows,) in drawn]
    # Five draws of one in five: the mean is .2, and the share of draws without it .8 ** 5.
    assert np.mean(shares) == pytest.approx(0.2, abs=0.01)
    assert np.mean(np.array(shares) == 0) == pytest.approx(0.8**5, abs=0.03)
    assert all(len(rows) == 5 * captions for (rows,) in drawn)


def test_groups_of_different_sizes_stay_whole():
    groups = np.array([7, 3, 3, 7, 9, 3])
    for (rows,) in intervals._draws([np.zeros((6, 1))], [groups], 200, 1):
        counts = np.bincount(rows, minlength=6)
        for number in (3, 7, 9):
            assert len(set(counts[groups == number])) == 1


def test_seeds_are_drawn_together_and_the_interval_is_that_of_the_mean():
    right = np.array([[1, 1], [1, 0], [0, 0], [0, 0]] * 25, float)
    low, high = intervals.bootstrap(MEAN, [right], samples=2000)
    spread = 100 * right.mean(axis=1).std() / 10
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.1)


def test_the_interval_of_a_share_is_that_of_wilson():
    """statsmodels.stats.proportion.proportion_confint(4, 23, method="wilson"), and Wilson's own limits at the ends."""
    assert intervals.of_share(4 / 23, 23) == pytest.approx((0.06983, 0.37135), abs=1e-4)
    assert intervals.of_share(0.0, 10) == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert intervals.of_share(1.0, 10) == pytest.approx((0.72247, 1.0), abs=1e-4)
