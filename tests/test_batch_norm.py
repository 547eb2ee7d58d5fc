"""BatchNorm against the released networks' own (golden arrays), and one replica against two."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_recipe import assert_close, load, unit_input

from mmv_tf.batch_norm import BatchNorm


@pytest.fixture(scope="module")
def two_replicas():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])  # logical devices of conftest.py


def inputs(step, rank=3):
    x = unit_input(f"unit/bn/x{step}", (4, 3, 5)) * (step + 1) + step
    return x.reshape(4, 3, 5) if rank == 3 else x.reshape(2, 2, 3, 1, 5)


@pytest.mark.parametrize("rank", [3, 5])  # separate operations, and the fused kernel
def test_outputs_and_moving_averages_equal_the_reference_over_three_steps(rank):
    golden, bn = load("units"), BatchNorm()
    for step in range(3):
        x = inputs(step, rank)
        name = f"bn/step{step}"
        assert_close(np.reshape(bn(x, training=True), (4, 3, 5)), golden[f"{name}/y_train"], 1e-6, name)
        assert_close(np.reshape(bn(x), (4, 3, 5)), golden[f"{name}/y_eval_after"], 1e-6, name)
        assert_close(bn.moving_mean, golden[f"{name}/mean_ema/average"].ravel(), 1e-6, name)
        assert_close(bn.moving_variance, golden[f"{name}/var_ema/average"].ravel(), 1e-6, name)
        assert bn.counter == golden[f"{name}/mean_ema/counter"]


def test_before_the_first_step_inference_is_the_identity():
    x = inputs(0)
    assert_close(BatchNorm(epsilon=0.0)(x), x, 1e-7)


def test_inference_equals_its_definition_also_by_the_fused_kernel():
    # Rank 5 takes the fused kernel, rank 3 separate operations.
    x, bn = inputs(1), BatchNorm()
    bn(inputs(0), training=True)
    results = []
    for rank in (3, 5):
        y = tf.constant(inputs(1, rank))
        with tf.GradientTape() as tape:
            tape.watch(y)
            outputs = bn(y)
            loss = tf.reduce_sum(tf.reshape(outputs, x.shape) * unit_input("weights", x.shape))
        gradients = tape.gradient(loss, [y, bn.scale.value, bn.offset.value])
        results.append([np.reshape(a, (-1, 5)) for a in (outputs, *gradients)])
    expected = (x.reshape(-1, 5) - bn.moving_mean) / np.sqrt(bn.moving_variance + 1e-5)
    for separate, fused in zip(*results, strict=True):
        assert_close(fused, separate, 1e-6)
    assert_close(results[1][0], expected, 1e-6)


def test_untrainable_layer_keeps_its_averages_in_training_mode():
    bn = BatchNorm()
    bn(inputs(0), training=True)
    bn.trainable = False
    before = [w.numpy() for w in bn.weights]
    np.testing.assert_array_equal(bn(inputs(1), training=True), bn(inputs(1)))
    for a, b in zip(before, bn.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_decay_is_named():
    with pytest.raises(ValueError, match="decay must be in"):
        BatchNorm(decay=1.0)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_training_step_equals_eager(jit_compile):
    x, bn, eager = inputs(0, 5), BatchNorm(), BatchNorm()

    @tf.function(jit_compile=jit_compile)
    def step(x):
        return bn(x, training=True)

    bn.build(x.shape)
    assert_close(step(x), eager(x, training=True), 1e-6)
    for a, b in zip(bn.weights, eager.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_statistics_are_float32_under_bfloat16():
    # A spread of 0.5 around 100 is lost in bfloat16 (steps of 0.5 there), and would be lost in bfloat16 sums.
    x = (100 + inputs(0, 5)).astype("bfloat16")
    bn = BatchNorm(dtype="mixed_bfloat16")
    y = bn(x, training=True)
    assert y.dtype == tf.bfloat16 and bn.moving_mean.dtype == "float32"
    wide = x.astype(np.float64).reshape(-1, 5)
    assert_close(bn.moving_mean, wide.mean(0), 1e-6)
    assert_close(bn.moving_variance, wide.var(0), 1e-5)


def test_float64():
    x = inputs(0, 5).astype(np.float64)
    bn = BatchNorm(dtype="float64")
    flat = x.reshape(-1, 5)
    expected = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    assert_close(np.reshape(bn(x, training=True), (-1, 5)), expected, 1e-14)
    assert_close(bn.moving_variance, flat.var(0), 1e-14)


@pytest.mark.parametrize("split", [2, 1])  # equal and unequal shares of the batch of four
def test_two_replicas_equal_one(two_replicas, split):
    x, weights = inputs(0) + 5, unit_input("weights", (4, 3, 5))
    single = BatchNorm()
    single.build(x.shape)
    with two_replicas.scope():
        double = BatchNorm()
        double.build(x.shape)

    def step(bn, x, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = bn(x, training=True)
            loss = tf.reduce_sum(y * y * weights)
        return y, tape.gradient(loss, [x, bn.scale.value, bn.offset.value])

    y, gradients = step(single, tf.constant(x), tf.constant(weights))

    def shares(a):
        return two_replicas.experimental_distribute_values_from_function(
            lambda c: tf.constant(a[:split] if c.replica_id_in_sync_group == 0 else a[split:])
        )

    run = tf.function(lambda x, w: two_replicas.run(step, (double, x, w)))
    y2, gradients2 = run(shares(x), shares(weights))
    local = two_replicas.experimental_local_results
    assert_close(np.concatenate(local(y2)), y, 1e-6)
    assert_close(np.concatenate(local(gradients2[0])), gradients[0], 1e-5)
    for a, b in zip(gradients2[1:], gradients[1:], strict=True):
        assert_close(sum(local(a)), b, 1e-5)
    for a, b in zip(double.weights, single.weights, strict=True):
        for copy in local(a.value):
            np.testing.assert_allclose(copy, b, rtol=1e-6)


def test_checkpoint_restores_averages_and_counter(two_replicas, tmp_path):
    x = inputs(0)
    with two_replicas.scope():
        saved = BatchNorm()
        saved.build(x.shape)
    for step in range(2):
        two_replicas.run(lambda step=step: saved(tf.constant(inputs(step)), training=True))
    path = tf.train.Checkpoint(layer=saved).save(str(tmp_path / "ckpt"))
    fresh = BatchNorm()
    fresh.build(x.shape)
    tf.train.Checkpoint(layer=fresh).restore(path).assert_consumed()
    np.testing.assert_array_equal(fresh(x), saved(x))
    assert fresh.counter == 2


def test_inside_a_functional_model_and_fit():
    layer = BatchNorm()  # gin wraps it; Keras must still find its signature
    model = keras.Sequential([keras.Input((3, 5)), layer])
    model.compile("sgd", "mse")
    model.fit(inputs(0), inputs(1), batch_size=4, epochs=2, verbose=0)
    assert layer.counter == 2
