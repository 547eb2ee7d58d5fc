"""Zipf's law of cluster sizes, against the arrays of ELo's formula and clusters that are known."""

import numpy as np
import pytest

from helpers.system_arrays import arrays
from mmv_tf.metrics import zipf


def test_the_divergence_is_that_of_elo_whatever_the_order_of_the_clusters():
    golden = arrays("derived/elo")
    np.testing.assert_allclose(zipf.divergence(golden["counts"]), golden["kl"], rtol=1e-5)
    np.testing.assert_allclose(zipf.divergence(golden["counts"][::-1] * 100), golden["kl"], rtol=1e-5)
    assert zipf.divergence([60, 30, 20]) == pytest.approx(0.0, abs=1e-12)
    assert zipf.divergence([5, 0]) == pytest.approx(np.log(1.5))  # an empty cluster has no part in it


def test_the_fitness_clusters_directions_the_same_way_every_time():
    rs = np.random.RandomState(0)
    centres = np.repeat(np.eye(3, 5), [60, 30, 20], axis=0)
    values = (centres + 0.01 * rs.standard_normal((110, 5))) * rs.uniform(0.1, 10, (110, 1))
    assert zipf.fitness(values, 3) == pytest.approx(0.0, abs=1e-12)
    even = zipf.fitness(values[:90:1][rs.permutation(90)][:, ::-1], 2)
    assert even == pytest.approx(-zipf.divergence([60, 30]))
    noise = rs.standard_normal((50, 4))
    assert zipf.fitness(noise, 7, seed=3) == zipf.fitness(noise, 7, seed=3)
    with pytest.raises(ValueError, match="50 clips cannot be in 51 clusters"):
        zipf.fitness(noise, 51)
    noise[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or Inf"):
        zipf.fitness(noise, 2)
