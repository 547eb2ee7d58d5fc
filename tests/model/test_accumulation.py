"""Cached-gradient accumulation equals the big batch, with the negatives of the whole batch."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.model import accumulation


class PlainBackbone(toy.ToyBackbone):
    """Without batch norm: what a sample is mapped to does not depend on its neighbours."""

    def call(self, inputs, training=False):
        axes = list(range(1, len(inputs.shape) - 1))
        return tf.nn.tanh(self.dense(tf.reduce_mean(inputs, axes)))


def _model(backbone=toy.ToyBackbone, micro_batches=1):
    return toy.mmv(graphs.fac(), backbone=backbone, micro_batches=micro_batches)


def _dense(gradients, model):
    variables = model.trainable_variables
    return [
        tf.zeros(v.shape) if g is None else tf.convert_to_tensor(g) for g, v in zip(gradients, variables, strict=True)
    ]


def _gradients(model, batch, compiled=True):
    def gradients(batch):
        found, logs = accumulation.gradients(model, batch, model.trainable_variables, model.micro_batches)
        return _dense(found, model), {name: total for name, (total, _) in logs.items()}

    return (tf.function(gradients, autograph=False) if compiled else gradients)(batch)


@functools.cache
def _whole():
    """Gradients and logs of the big batch."""
    return _gradients(_model(PlainBackbone), toy.batch(12), compiled=False)


def _assert_close(found, expected, rtol=1e-5):
    largest = max(np.abs(g).max() for g in expected)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=rtol * largest)


# In a graph the parts are a loop, which is the same however often it runs.
@pytest.mark.parametrize(("micro_batches", "compiled"), [(2, False), (3, False), (6, False), (3, True)])
def test_the_gradient_is_that_of_the_big_batch(micro_batches, compiled):
    whole, whole_logs = _whole()
    found, logs = _gradients(_model(PlainBackbone, micro_batches), toy.batch(12), compiled)
    _assert_close(found, whole)
    for name, value in whole_logs.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_small_batches_without_a_cache_are_something_else():
    batch, (whole, _) = toy.batch(12), _whole()
    parts = [{n: v[i : i + 6] for n, v in batch.items()} for i in (0, 6)]
    halves = [_gradients(_model(PlainBackbone), part, compiled=False)[0] for part in parts]
    mean = [(a + b) / 2 for a, b in zip(*halves, strict=True)]
    assert max(np.abs(a - b).max() for a, b in zip(mean, whole, strict=True)) > 0.01


def test_with_batch_norm_it_is_the_gradient_of_a_network_that_normalises_part_by_part():
    batch, model, reference = toy.batch(12), _model(micro_batches=3), _model()
    found, _ = _gradients(model, batch, compiled=False)
    parts = [{n: v[i : i + 4] for n, v in batch.items()} for i in (0, 4, 8)]
    with tf.GradientTape() as tape:
        several = [reference.represent(part, training=True) for part in parts]
        joined = {m: tf.concat([one[m] for one in several], axis=0) for m in several[0]}
        total, _ = reference.compute_losses_of(joined, batch, training=True)
    expected = tape.gradient(total, reference.trainable_variables)
    _assert_close(found, _dense(expected, reference))
    for mine, other in zip(model.non_trainable_variables, reference.non_trainable_variables, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6, err_msg=mine.path)  # updated once a part


def test_two_replicas_of_two_micro_batches_sum_to_one_of_one():
    whole = toy.batch(8)
    expected, _ = _gradients(_model(PlainBackbone), whole, compiled=False)
    strategy = toy.mirrored(2)
    with strategy.scope():
        model = _model(PlainBackbone, micro_batches=2)
    halves = strategy.experimental_distribute_values_from_function(
        lambda c: {n: v[c.replica_id_in_sync_group * 4 :][:4] for n, v in whole.items()}
    )
    two = strategy.run(_gradients, args=(model, halves, False))[0]
    summed = [sum(np.array(part) for part in strategy.experimental_local_results(g)) for g in two]
    _assert_close(summed, expected)


def test_what_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="MMV.micro_batches = 5 cannot divide a replica's 12 clips"):
        _gradients(_model(PlainBackbone, 5), toy.batch(12), compiled=False)
    with pytest.raises(ValueError, match="MMV.micro_batches = 0"):
        _model(micro_batches=0)
