import itertools

import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.inputs import permutation


def permuted(size, *numbers):
    places = tf.range(size, dtype=tf.int64)
    return permutation.permute(places, tf.constant(size, tf.int64), permutation.key(*numbers)).numpy()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 16, 17, 99, 101, 4096, 10_007])
def test_each_place_is_taken_once(size):
    assert sorted(permuted(size, 3)) == list(range(size))


def test_keys_are_told_apart():
    orders = [
        tuple(permuted(50, *numbers)) for numbers in ((1,), (2,), (1, 0), (0, 1), (1, 2), (2, 1), (-1,), (2**40,))
    ]
    assert len(set(orders)) == len(orders)


def test_what_it_gives_is_for_good():
    """Resumed runs of other versions and machines depend on it."""
    assert list(permuted(10, 7, 3)) == [6, 1, 4, 5, 3, 2, 9, 7, 0, 8]
    far = tf.constant([10**12 - 1], tf.int64)
    assert int(permutation.permute(far, tf.constant(10**12, tf.int64), permutation.key(5))[0]) == 661963742273


def test_all_permutations_are_equally_frequent():
    size, keys = 4, 24_000
    numbers = tf.repeat(tf.range(keys, dtype=tf.int64), size)
    places = tf.tile(tf.range(size, dtype=tf.int64), [keys])
    orders = permutation.permute(places, tf.constant(size, tf.int64), permutation.key(numbers)).numpy()
    counts = dict.fromkeys(itertools.permutations(range(size)), 0)
    for order in orders.reshape(keys, size):
        counts[tuple(order)] += 1
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi_square < 49.7  # 23 degrees of freedom: more in one of a thousand


def test_sizes_may_differ_from_place_to_place():
    sizes = tf.constant([3, 100, 5760], tf.int64)
    together = permutation.permute(tf.constant([2, 2, 2], tf.int64), sizes, permutation.key(1)).numpy()
    assert list(together) == [permuted(size, 1)[2] for size in (3, 100, 5760)]


def test_neighbours_are_scattered():
    steps = np.abs(np.diff(permuted(1000, 1)))
    assert 300 < steps.mean() < 367  # a third of the size
