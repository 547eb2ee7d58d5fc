"""Numbers of the report on a deflation, by hand."""

import numpy as np
import pytest

from mmv_tf.deflation import report


def test_distances_by_hand():
    made, wanted = np.array([[2.0, 0], [0, 3], [1, 1]]), np.array([[1.0, 0], [0, -1], [1, 1]])
    found = report.distances(made, wanted)
    # Cosines 1, -1, 1; differences 1, 4, 0 beside lengths 1, 1 and the root of 2.
    assert found == {"relative_l2": pytest.approx(17**0.5 / 2), "cosine_distance": pytest.approx(2 / 3)}
    assert report.distances(wanted, wanted)["relative_l2"] == 0
    assert report.distances(0 * made, wanted) == {"relative_l2": 1.0, "cosine_distance": 1.0}
