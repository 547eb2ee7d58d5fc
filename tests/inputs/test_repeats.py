"""How often clips that were in one batch are together again in the next epoch: without reading a record."""

import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.inputs.mixture import Shares
from mmv_tf.inputs.stream import Order

HOUR = 360  # clips of 10 s


def records(size, count, window=0, seed=0):
    order = Order((size,), Shares([1]), (seed,), (window,))
    return order.at(tf.range(count, dtype=tf.int64))[2].numpy()


def repeats(size, batch, epochs=2, **settings):
    """Share of the pairs of a batch that were mates in the epoch before."""
    batches = epochs * size // batch
    found = records(size, batches * batch, **settings).reshape(batches, batch)
    numbers = np.arange(batches * batch)
    place = np.full((epochs, size), -1)
    place[numbers // size, found.ravel()] = numbers // batch
    shares = []
    for number, rows in enumerate(found):
        first, last = number * batch // size, (number * batch + batch - 1) // size
        if first == last > 0:
            before = place[first - 1, rows]
            mates = np.unique(before[before >= 0], return_counts=True)[1]
            shares.append((mates * (mates - 1)).sum() / (batch * (batch - 1)))
    return np.mean(shares)


@pytest.mark.parametrize(
    ("size", "batch", "epochs"),
    [(16 * HOUR, 512, 4), (200 * HOUR, 512, 2), (8 * HOUR, 64, 3), (16 * 256, 256, 3), (640, 64, 6), (40, 8, 40)],
)
def test_repeats_are_those_of_a_full_shuffle(size, batch, epochs):
    assert repeats(size, batch, epochs) < 1.2 * (batch - 1) / (size - 1)


def test_a_window_repeats_more_and_says_so():
    full, window = repeats(8 * HOUR, 64), repeats(8 * HOUR, 64, window=64)
    assert 2 * full < window < 0.3


@pytest.mark.parametrize(
    ("size", "window"), [(1, 0), (7, 0), (100, 0), (7, 3), (100, 1), (100, 16), (100, 99), (101, 24)]
)
def test_each_record_comes_once_an_epoch(size, window):
    epochs = records(size, 3 * size, window).reshape(3, size)
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    if size > 3:
        assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_window_reads_in_few_places():
    """Of 256 records that are read one after another, nearly all have their neighbours among them."""
    found = records(100 * HOUR, 256, window=256)
    runs = np.split(np.sort(found), np.flatnonzero(np.diff(np.sort(found)) > 1) + 1)
    assert len(runs) <= 16 and max(map(len, runs)) >= 16


def test_seeds_have_orders_of_their_own():
    assert list(records(50, 50, seed=1)) != list(records(50, 50, seed=2))


def test_positions_can_be_asked_in_any_order():
    order = Order((30, 7), Shares([3, 1]), (0, 1), (0, 0))
    together = [values.numpy() for values in order.at(tf.range(200, dtype=tf.int64))]
    for position in (199, 3, 77):
        alone = [int(values[0]) for values in order.at(tf.constant([position], tf.int64))]
        assert alone == [values[position] for values in together]
    far = order.at(tf.constant([10**15], tf.int64))
    assert 0 <= int(far[2][0]) < 37


def test_what_is_drawn_by_itself_comes_as_often_as_chance_has_it():
    order = Order((40, 5), Shares([3, 1]), (0, 1), (0, 0), independent=True)
    source, _, found = (values.numpy() for values in order.at(tf.range(8000, dtype=tf.int64)))
    many = found[source == 0]
    counts = np.bincount(many, minlength=40)
    assert 0 < counts.min() and 20 < ((counts - 150) ** 2 / 150).sum() < 65  # chi squared of 39; of epochs it is 0
    # How long ago a record was there before tells nothing: geometric, its deviation as large as its mean.
    gaps = np.concatenate([np.diff(np.flatnonzero(many == record)) for record in range(40)])
    assert 36 < gaps.mean() < 44 and 34 < gaps.std() < 44
    assert set(found[source == 1]) == set(range(40, 45))
    alone = order.at(tf.constant([7777], tf.int64))
    assert int(alone[2][0]) == found[7777]
    other = Order((40, 5), Shares([3, 1]), (2, 1), (0, 0), independent=True).at(tf.range(100, dtype=tf.int64))
    assert list(other[2].numpy()) != list(found[:100])
