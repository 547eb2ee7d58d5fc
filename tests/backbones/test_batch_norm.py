"""BatchNorm against the released networks' own (golden arrays), and one replica against two."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from helpers.golden_recipe import assert_close, load, unit_input
from mmv_tf.backbones.batch_norm import KERAS, PYTORCH, BatchNorm, averages_frozen, present


@pytest.fixture(scope="module")
def two_replicas():
    return toy.mirrored(2)


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
    with pytest.raises(ValueError, match="BatchNorm.decay = 1.0: must be a number of at least 0 and below 1"):
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


# A batch of six, of which 0, 2, 3 and 5 are there. What is missing must not matter, so it is large.
MASK = np.array([True, False, True, True, False, True])


def masked_input(shape):
    x = unit_input("masked", shape)
    x[~MASK] = 50 + 10 * x[~MASK]
    return x


def gradients_of(bn, x, weights, mask=None, freeze=False):
    """Outputs, the gradient for x, scale and offset of a weighted sum of squares."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape, present(mask):
        tape.watch(x)
        if freeze:
            with averages_frozen():
                y = bn(x, training=True)
        else:
            y = bn(x, training=True)
        loss = tf.reduce_sum(y * y * tf.cast(weights, y.dtype))
    return [y, *tape.gradient(loss, [x, bn.scale.value, bn.offset.value])]


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 5), (6, 2, 3, 2, 5)])  # the last one takes the fused kernel
@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
def test_masked_samples_are_as_if_not_there(shape, how):
    x, weights = masked_input(shape), unit_input("weights", shape)
    weights[~MASK] = 0  # as the losses do
    wide, bn = BatchNorm(dtype="float64"), BatchNorm()
    expected = gradients_of(wide, x[MASK].astype(np.float64), weights[MASK])
    bn.build(shape)
    function = {"eager": lambda f: f, "graph": tf.function, "xla": tf.function(jit_compile=True)}[how]
    y, of_x, *others = function(gradients_of)(bn, x, tf.constant(weights), tf.constant(MASK))
    assert_close(y.numpy()[MASK], expected[0], 1e-6)
    assert_close(of_x.numpy()[MASK], expected[1], 1e-5)
    assert not of_x.numpy()[~MASK].any()
    for a, b in zip([*others, *bn.weights], [*expected[2:], *wide.weights], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 3, 5), (6, 2, 3, 2, 5)])
def test_mask_without_gaps_is_no_mask(shape):
    x, weights, masked, plain = unit_input("x", shape), unit_input("weights", shape), BatchNorm(), BatchNorm()
    got = gradients_of(masked, x, weights, tf.ones([6], bool))
    for a, b in zip([*got, *masked.weights], [*gradients_of(plain, x, weights), *plain.weights], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 5), (6, 2, 3, 2, 5)])
def test_batch_of_missing_samples_leaves_everything_finite_and_the_averages_alone(shape):
    bn, x = BatchNorm(), masked_input(shape)
    bn(x, training=True)
    before = [w.numpy() for w in bn.weights]
    results = tf.function(gradients_of)(bn, x, np.ones(shape, np.float32), tf.zeros([6], bool))
    assert all(np.isfinite(a).all() for a in results)
    for a, b in zip(bn.weights, before, strict=True):
        np.testing.assert_array_equal(a, b)
    fresh = BatchNorm()
    gradients_of(fresh, x, np.ones(shape, np.float32), tf.zeros([6], bool))
    assert fresh.counter == 0 and not np.any(fresh.moving_mean) and np.all(fresh.moving_variance == 1)


@pytest.mark.parametrize(
    ("mask", "shape"),
    [((6,), (24, 2, 2, 5)), ((6, 2), (6, 2, 5)), ((6, 2), (12, 5)), ((6, 2), (24, 3, 2, 5)), ((6, 1), (6, 5))],
)
def test_mask_of_merged_axes(mask, shape):
    there = np.zeros(mask, bool)
    there[::2] = True
    there[1] = True
    x = unit_input("x", shape)
    rows = np.repeat(there.reshape(-1), x.size // 5 // there.size)
    bn = BatchNorm()
    with present(tf.constant(there)):
        bn(x, training=True)
    flat = x.reshape(-1, 5)[rows]
    assert_close(bn.moving_mean, flat.mean(0), 1e-6)
    assert_close(bn.moving_variance, flat.var(0), 1e-6)


def test_mask_where_the_batch_size_is_unknown():
    bn = BatchNorm()
    bn.build((None, 2, 2, 5))

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 2, 5]), tf.TensorSpec([None], tf.bool)])
    def step(x, mask):
        with present(mask):
            return bn(x, training=True)

    x = unit_input("x", (12, 2, 2, 5))
    step(x, MASK)
    assert_close(bn.moving_mean, x[np.repeat(MASK, 2)].reshape(-1, 5).mean(0), 1e-6)


def test_mask_that_does_not_fit_is_named():
    with present(tf.ones([4], bool)), pytest.raises(ValueError, match=r"mask of \(4,\) does not fit a batch of 6"):
        BatchNorm()(unit_input("x", (6, 2, 2, 5)), training=True)


def test_frozen_averages_stay_and_the_batch_counts():
    x, weights = inputs(0, 5), unit_input("weights", (2, 2, 3, 1, 5))
    frozen, plain = BatchNorm(), BatchNorm()
    for a, b in zip(gradients_of(frozen, x, weights, freeze=True), gradients_of(plain, x, weights), strict=True):
        np.testing.assert_array_equal(a, b)
    assert frozen.counter == 0 and not np.any(frozen.moving_mean) and np.all(frozen.moving_variance == 1)
    frozen(x, training=True)
    assert frozen.counter == 1  # and the context has ended


@pytest.mark.parametrize("shape", [(6, 5), (6, 2, 3, 2, 5)])
@pytest.mark.parametrize("split", [3, 2])  # with 2 the first replica has one sample that is there, of two
@pytest.mark.parametrize("freeze", [False, True])
def test_masked_two_replicas_equal_one(two_replicas, shape, split, freeze):
    x, weights = masked_input(shape), unit_input("weights", shape)
    weights[~MASK] = 0
    single = BatchNorm()
    expected = gradients_of(single, x, weights, tf.constant(MASK), freeze)
    with two_replicas.scope():
        double = BatchNorm()
        double.build(x.shape)

    def shares(a):
        return two_replicas.experimental_distribute_values_from_function(
            lambda c: tf.constant(a[:split] if c.replica_id_in_sync_group == 0 else a[split:])
        )

    run = tf.function(lambda *args: two_replicas.run(gradients_of, (double, *args, freeze)))
    local = two_replicas.experimental_local_results
    got = [local(a) for a in run(shares(x), shares(weights), shares(MASK))]
    for a, b in zip(got[:2], expected[:2], strict=True):
        assert_close(np.concatenate(a)[MASK], b.numpy()[MASK], 1e-5)
    for a, b in zip(got[2:], expected[2:], strict=True):
        assert_close(sum(a), b, 1e-5)
    for a, b in zip(double.weights, single.weights, strict=True):
        for copy in local(a.value):
            np.testing.assert_allclose(copy, b, rtol=1e-5)


@pytest.mark.parametrize("rank", [3, 5])  # separate operations, and the fused kernel
@pytest.mark.parametrize("settings", [PYTORCH, KERAS, {"unbiased": True}])
def test_averages_of_other_libraries(settings, rank):
    """`new = decay * old + (1 - decay) * batch` from 0 and 1 (torch.nn.BatchNorm3d, Keras), outputs as ever."""
    bn, usual = BatchNorm(decay=0.8, **settings), BatchNorm(decay=0.8)
    mean, variance, share = np.zeros(5), np.ones(5), 0.0
    for step in range(3):
        x = inputs(step, rank)
        np.testing.assert_array_equal(bn(x, training=True), usual(x, training=True))
        flat = x.reshape(-1, 5).astype(np.float64)
        of_batch = flat.var(0, ddof=1 if bn.unbiased else 0)
        share = 0.8 * share + 0.2
        rate = 0.2 if not bn.debias else 0.2 / share
        mean, variance = mean + rate * (flat.mean(0) - mean), variance + rate * (of_batch - variance)
        assert_close(bn.moving_mean, mean, 1e-5)
        assert_close(bn.moving_variance, variance, 1e-5)
        assert bn.counter == step + 1


def test_unbiased_averages_count_what_is_there():
    x, bn = inputs(0), BatchNorm(**PYTORCH)
    with present(tf.constant([True, False, True, False])):
        bn(x, training=True)
    assert_close(bn.moving_variance, 0.9 + 0.1 * x[[0, 2]].reshape(-1, 5).var(0, ddof=1), 1e-6)
    alone = BatchNorm(unbiased=True)
    alone(x[:1, 0], training=True)  # of one value it is 0, and no division by 0
    np.testing.assert_array_equal(alone.moving_variance, np.zeros(5))


def test_unbiased_averages_are_of_all_replicas(two_replicas):
    x = inputs(0)
    with two_replicas.scope():
        double = BatchNorm(**PYTORCH)
        double.build(x.shape)
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda c: tf.constant(x[:3] if c.replica_id_in_sync_group == 0 else x[3:])
    )
    two_replicas.run(lambda x: double(x, training=True), (halves,))
    assert_close(double.moving_variance, 0.9 + 0.1 * x.reshape(-1, 5).var(0, ddof=1), 1e-6)
