"""A step of every optimiser that gin can bind: repeated rows, absent modalities, decay, scaled losses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.model import stepping
from mmv_tf.training import optimizer_state
from mmv_tf.training.optimizers import LARS

OPTIMIZERS = {
    "Adam": lambda **more: keras.optimizers.Adam(0.01, **more),
    "AdamW": lambda **more: keras.optimizers.AdamW(0.01, weight_decay=0.1, **more),
    "Lamb": lambda **more: keras.optimizers.Lamb(0.01, weight_decay=0.1, **more),
    "SGD": lambda **more: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, **more),
    "LARS": lambda **more: LARS(0.5, weight_decay=0.01, **more),
    "Nadam": lambda **more: keras.optimizers.Nadam(0.01, **more),  # it has a state that no variable owns
}
EVERY = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def _words(seed=0):
    return keras.Variable(np.random.RandomState(seed).standard_normal((5, 3)).astype(np.float32))


@EVERY
@pytest.mark.parametrize("clip", [{}, {"clipnorm": 1.0}, {"global_clipnorm": 0.5}, {"clipvalue": 0.1}])
def test_a_word_that_occurs_often_is_one_row(make, clip):
    ids, rows = [1] * 6 + [2], np.random.RandomState(1).standard_normal((7, 3)).astype(np.float32)
    added = np.zeros((5, 3), np.float32)
    np.add.at(added, ids, rows)
    moved = []
    for gradient in (tf.IndexedSlices(tf.constant(rows), tf.constant(ids), tf.constant([5, 3])), tf.constant(added)):
        variable, optimizer = _words(), make(**clip)
        for _ in range(3):
            norm, _ = stepping.step(optimizer, [gradient], [variable])
            np.testing.assert_allclose(norm, np.linalg.norm(added), rtol=1e-6)
        moved.append(variable.numpy())
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5, atol=1e-7)
    assert np.abs(moved[0] - _words().numpy())[1].min() > 1e-4


def _state(model):
    weights = {name: v.numpy() for name, v in model.named_variables().items() if "norm/" not in name or "scale" in name}
    slots = {f"slot/{n}": v.numpy() for n, v in optimizer_state.named(model.optimizer, model).items()}
    return weights | slots


@EVERY
def test_what_is_absent_from_a_batch_is_not_stepped_and_the_rest_is(make):
    full = toy.batch(12, missing=False)
    without = {**full, "text_mask": tf.zeros([12, 2], tf.bool)}
    model = toy.mmv(graphs.fac(), compiled=False)
    model.compile(optimizer=make())
    # One of them as a graph: to trace it takes ten times as long as these steps, and twice that without its variables.
    if make is OPTIMIZERS["Adam"]:
        model.optimizer.build(model.trainable_variables)
    step = tf.function(model.take_step, autograph=False) if make is OPTIMIZERS["Adam"] else model.take_step
    step(full), step(full)
    before = _state(model)
    step(without), step(without)
    after = _state(model)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert not [name for name in changed if "text" in name or "va -> vat" in name]
    weights = {name for name in changed if not name.startswith("slot/")}
    assert {"video/dense/kernel", "audio/dense/kernel", "audio -> va/projection/kernel"} <= weights
    step(full)
    again = _state(model)
    assert not np.array_equal(again["text/words/embeddings"], before["text/words/embeddings"])


@pytest.mark.parametrize("more", [{}, {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 0.01}, {"amsgrad": True}])
def test_adam_is_that_of_keras(more):
    """Its kernel has 1 - beta in float32: 0.999 gives squares that are off by 1.3e-5."""
    rows = np.random.RandomState(1).standard_normal((4, 2, 5, 3)).astype(np.float32)

    def after(run):
        variables = [_words(0), _words(1)]
        optimizer = keras.optimizers.Adam(0.01, **more)
        optimizer.build(variables)
        run(optimizer, variables)
        return [v.numpy() for v in (*variables, *optimizer.variables)]

    def keras_own(optimizer, variables):
        for gradients in rows:
            optimizer.apply([tf.constant(g) for g in gradients], variables)

    def ours(optimizer, variables):
        for gradients in rows:
            stepping.step(optimizer, [tf.constant(g) for g in gradients], variables)

    def in_one_graph(optimizer, variables):
        tf.function(lambda: ours(optimizer, variables), autograph=False)()

    expected = after(keras_own)
    for run in (ours, in_one_graph):
        for mine, theirs in zip(after(run), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-8)


def test_nan_is_stepped_and_seen():
    variable = _words()
    gradient = np.zeros((5, 3), np.float32)
    gradient[4, 2] = np.nan
    assert np.isnan(stepping.step(keras.optimizers.Adam(0.01), [tf.constant(gradient)], [variable])[0])
    assert np.isnan(variable.numpy()[4, 2])


def _scaled(variables):
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    stepping.scale_losses(optimizer)
    optimizer.build(variables)
    return optimizer


def test_a_loss_scale_changes_no_step_and_grows():
    rows = [np.random.RandomState(seed).standard_normal((5, 3)).astype(np.float32) for seed in range(3)]
    plain, scaled, variables = keras.optimizers.AdamW(0.01, weight_decay=0.1), None, [_words(), _words()]
    scaled = _scaled(variables[1:])
    assert float(scaled.scale_loss(2.0)) == 2.0**16
    scaled.steps_at_scale.assign(1998)
    for row, scale, count in zip(rows, (2**15, 2**16, 2**16), (1999, 0, 1), strict=True):
        expected, _ = stepping.step(plain, [tf.constant(row)], variables[:1])
        norm, is_taken = stepping.step(scaled, [scaled.scale_loss(tf.constant(row))], variables[1:])
        np.testing.assert_allclose(norm, expected, rtol=1e-6)
        assert is_taken and (float(scaled.loss_scale), int(scaled.steps_at_scale)) == (scale, count)
    np.testing.assert_allclose(variables[1].numpy(), variables[0].numpy(), rtol=1e-6)
    assert {"loss_scale", "steps_at_scale"} <= {variable.name for variable in scaled.variables}  # it is in checkpoints


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_that_overflows_is_left_out_unless_it_is_not_for_the_scale(bad):
    first, second = _words(0), _words(1)
    optimizer = _scaled([first, second])
    stepping.step(optimizer, [tf.ones([5, 3])] * 2, [first, second])
    before = [variable.numpy() for variable in (first, second, *optimizer.variables)]
    broken = tf.tensor_scatter_nd_update(tf.ones([5, 3]), [[4, 2]], [bad])
    _, is_taken = stepping.step(optimizer, [broken, tf.ones([5, 3])], [first, second])
    assert not is_taken
    after = {v.path: (a, v.numpy()) for a, v in zip(before, (first, second, *optimizer.variables), strict=True)}
    changed = {name.rpartition("/")[2] for name, (a, b) in after.items() if not np.array_equal(a, b)}
    assert changed == {"iteration", "loss_scale", "steps_at_scale"}
    assert (float(optimizer.loss_scale), int(optimizer.steps_at_scale)) == (2.0**14, 0)
    optimizer.loss_scale.assign(1.0)
    norm, is_taken = stepping.step(optimizer, [broken, tf.ones([5, 3])], [first, second])
    assert is_taken and not np.isfinite(norm) and float(optimizer.loss_scale) == 1.0


def test_a_scale_given_by_hand_is_the_first_and_no_part_of_the_step():
    optimizer, variable = keras.optimizers.SGD(0.5, loss_scale_factor=128.0), tf.Variable(np.ones([5, 3], np.float32))
    stepping.scale_losses(optimizer)
    assert float(optimizer.scale_loss(2.0)) == 256.0
    norm, _ = stepping.step(optimizer, [optimizer.scale_loss(tf.ones([5, 3]))], [variable])
    np.testing.assert_allclose(variable.numpy(), 0.5)
    np.testing.assert_allclose(norm, 15**0.5, rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 2])
def test_averages_take_the_place_of_the_weights(devices):
    """Every other step, as Keras does on one device: 1 -> 0 (average 0) -> -1 (average -1/2), which is put there."""
    strategy = toy.mirrored(devices)
    with strategy.scope():
        variable = tf.Variable(np.ones([5, 3], np.float32))
        optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
        optimizer.build([variable])

    @tf.function
    def step():
        strategy.run(lambda: stepping.step(optimizer, [tf.ones([5, 3]) / devices], [variable])[0])

    for expected in (0.0, -0.5, -1.5):
        step()
        np.testing.assert_allclose(variable.numpy(), expected)


def test_replicas_have_one_loss_scale():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        variable = tf.Variable(np.ones([5, 3], np.float32))
        optimizer = keras.optimizers.SGD(0.5)
        optimizer.build([variable])
        stepping.scale_losses(optimizer)

    @tf.function
    def step(bad):
        def one():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            gradient = tf.fill([5, 3], optimizer.scale_loss(1.0)) / tf.where(bad & (number == 1), 0.0, 2.0)
            return stepping.step(optimizer, [gradient], [variable])

        return strategy.experimental_local_results(strategy.run(one)[1])

    assert [bool(taken) for taken in step(tf.constant(True))] == [False, False]
    assert optimizer.loss_scale.value.numpy() == 2.0**14 and np.all(variable.numpy() == 1)
    assert [bool(taken) for taken in step(tf.constant(False))] == [True, True]
    np.testing.assert_allclose(variable.numpy(), 0.5)


@pytest.mark.parametrize("make", [keras.optimizers.AdamW, keras.optimizers.Lamb, keras.optimizers.SGD])
def test_matrices_decay_and_vectors_do_not(make):
    optimizer = make(learning_rate=1e-9, weight_decay=1e8)  # decay alone: a tenth of a weight
    variables = [keras.Variable(np.full(shape, 2.0, np.float32)) for shape in ((3, 2), (2,), ())]
    stepping.step(optimizer, [tf.ones(v.shape) for v in variables], variables)
    np.testing.assert_allclose([v.numpy().max() for v in variables], [1.8, 2.0, 2.0], rtol=1e-6)


def test_what_is_excluded_from_decay_by_its_owner_stays_so():
    optimizer, variables = keras.optimizers.AdamW(1e-9, weight_decay=1e8), [_words(), _words()]
    optimizer.exclude_from_weight_decay(var_list=variables[:1])
    stepping.step(optimizer, [tf.ones([5, 3])] * 2, variables)
    factors = [variable.numpy() / _words().numpy() for variable in variables]
    np.testing.assert_allclose(factors[0], 1.0, atol=1e-5)
    np.testing.assert_allclose(factors[1], 0.9, atol=1e-5)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_scaled_loss_gives_the_same_step_and_the_same_logs(micro_batches):
    results = []
    for scale in (None, 1024.0):
        model = toy.mmv(graphs.fac(), compiled=False, micro_batches=micro_batches)
        model.compile(optimizer=keras.optimizers.SGD(0.1, loss_scale_factor=scale))
        sums = model.take_step(toy.batch(8))
        results.append((sums.numpy(), {name: v.numpy() for name, v in model.named_variables().items()}))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], value, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_loss_scale_optimizer_of_keras_gives_way_to_the_scale_of_ours(policy):
    results = []
    for wrapped in (False, True):
        keras.mixed_precision.set_dtype_policy(policy)
        try:
            model, optimizer = toy.mmv(graphs.fac(), compiled=False), keras.optimizers.SGD(0.1, loss_scale_factor=8.0)
            given = optimizer
            if wrapped:
                given = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0, dynamic_growth_steps=1)
            model.compile(optimizer=given)
        finally:
            keras.mixed_precision.set_dtype_policy("float32")
        model.take_step(toy.batch(8))
        results.append({name: v.numpy() for name, v in model.named_variables().items()})
    assert model.optimizer is optimizer and float(optimizer.loss_scale) == 16.0
    model.compile(optimizer=given)  # once more: it goes on as it is
    assert model.optimizer is optimizer and float(optimizer.scale_loss(1.0)) == 16.0
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_accumulated_gradients_of_a_modality_that_is_there_every_other_step():
    """Two steps of which the second has no text are one step with the mean of both gradients."""
    variables = [_words(), _words(1)]
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    for text in (1.0, 0.0):
        stepping.step(optimizer, [tf.ones([5, 3]), tf.fill([5, 3], text)], variables)
    for variable, before, mean in zip(variables, (_words(), _words(1)), (1.0, 0.5), strict=True):
        np.testing.assert_allclose(before.numpy() - variable.numpy(), 0.1 * mean, rtol=1e-5)
