import numpy as np

from mmv_tf.common.batches import filled


def test_a_batch_is_filled_with_copies_of_its_last_row():
    rows = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(filled(rows, 5), [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]])
    np.testing.assert_array_equal(filled(rows, 3), rows)
    assert filled(np.array([b"a", b"bc"], object), 3).tolist() == [b"a", b"bc", b"bc"]
