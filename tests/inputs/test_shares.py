"""A mixture of sources holds its shares exactly over the run, and on any number of hosts."""

import math

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import record, write_shards
from mmv_tf.inputs.mixture import Shares, Source
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.inputs.stream import positions
from mmv_tf.inputs.video import VideoInput

WEIGHTS = [(1, 1), (3, 1), (0.95, 0.05), (0.85, 0.15), (1 / 3, 2 / 3), (0.5, 0.3, 0.2), (math.pi, 1, math.e), (1, 1e-4)]


def at(weights, first, count):
    return [values.numpy() for values in Shares(weights).at(tf.range(first, first + count, dtype=tf.int64))]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_stretch_holds_its_shares(weights):
    source, place = at(weights, 0, 5000)
    is_from = source[:, None] == np.arange(len(weights))
    until = np.cumsum(is_from, axis=0)
    np.testing.assert_array_equal(place, (until - is_from)[np.arange(5000), source])  # each source counts up, by ones
    exact = np.arange(1, 5001)[:, None] * np.array(weights) / sum(weights)
    assert np.abs(until - exact).max() < 1
    for batch in (4, 16, 100):
        parts = is_from[: 5000 // batch * batch].reshape(-1, batch, len(weights)).sum(axis=1)
        assert np.abs(parts - batch * np.array(weights) / sum(weights)).max() < 2


def test_shares_are_exact_over_the_run():
    exact = (((0.95, 0.05), [19, 1]), ((1, 1), [1, 1]), ((3, 1), [3, 1]), ((0.5, 0.3, 0.2), [5, 3, 2]))
    for weights, parts in exact:
        period = sum(parts)
        for first in (0, 7 * period, 10**12 * period):
            source, _ = at(weights, first, period)
            assert list(np.bincount(source)) == parts
    assert [round(share, 9) for share in Shares([0.95, 0.05]).of(16)] == [15.2, 0.8]


def test_far_on_nothing_is_lost():
    """Positions beyond what a product of int64 holds."""
    source, place = at((math.pi, 1, math.e), 10**15, 1000)
    for number in range(3):
        steps = np.diff(place[source == number])
        assert len(steps) > 100 and (steps == 1).all()


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_take_their_part_of_the_global_batch(hosts):
    weights, batch, start, steps = (3.0, 1.0), 12, 37, 5
    parts = []
    for host in range(hosts):
        numbers = np.concatenate(list(positions(start, host, hosts, batch // hosts).take(1).as_numpy_iterator()))
        parts.append(numbers[: steps * batch // hosts].reshape(steps, -1))
    together = np.concatenate(parts, axis=1)
    np.testing.assert_array_equal(together.ravel(), np.arange(start, start + steps * batch))
    source = Shares(weights).at(tf.constant(together.ravel()))[0].numpy().reshape(steps, batch)
    assert [list(np.bincount(row)) for row in source] == [[9, 3]] * steps


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folders = []
    for name, first, count in (("often", 0, 14), ("seldom", 100, 5)):
        folder = tmp_path_factory.mktemp("records") / name
        folder.mkdir()
        content = [
            [record(f"{i}", num_frames=4, sound=False, label=first + i) for i in range(s, count, 3)] for s in range(3)
        ]
        folders.append(write_shards(folder, content))
    return folders


def pipeline(patterns, weights, **settings):
    sources = [Source(pattern, weight) for pattern, weight in zip(patterns, weights, strict=True)]
    video = VideoInput(num_frames=2, min_side=20, crop_size=16, jit_compile=False)
    return InputPipeline(sources, (), video, **settings)  # labels only


def labels(dataset, count):
    return [batch["label"].numpy() for batch in dataset.take(count)]


def test_training_batches_are_those_of_one_host(mixed):
    pipe, hosts = pipeline(mixed, (3, 1)), 3
    whole = labels(pipe.training_dataset(12, seed=3), 6)
    parts = []
    for host in range(hosts):
        context = tf.distribute.InputContext(hosts, host, num_replicas_in_sync=hosts)
        parts.append(labels(pipe.training_dataset(12, seed=3, input_context=context), 6))
    for step, expected in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[step] for part in parts]), expected)
        assert (expected >= 100).sum() == 3
    seldom = np.concatenate(whole)[np.concatenate(whole) >= 100]
    for epoch in (seldom[:5], seldom[5:10]):
        assert sorted(epoch) == [100, 101, 102, 103, 104]


def test_a_rare_source_needs_no_place_in_every_batch(mixed):
    found = labels(pipeline(mixed, (0.95, 0.05)).training_dataset(4), 25)
    assert [int((batch >= 100).sum()) for batch in found].count(0) == 20
    assert sum(int((batch >= 100).sum()) for batch in found) == 5  # of 100


def test_a_stream_can_begin_at_any_clip(mixed):
    pipe = pipeline(mixed, (3, 1))
    stream = np.concatenate(labels(pipe.training_dataset(4, seed=2), 20))
    found = np.concatenate(labels(pipe.training_dataset(6, seed=2, start_clip=29), 4))
    np.testing.assert_array_equal(found, stream[29:53])
    keys = [key for _, key, _ in pipe.keys_of_step(6, 2, step=99, start_clip=7)]
    assert keys == [str(label % 100) for label in stream[7:13]]
