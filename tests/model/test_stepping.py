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
            norm = stepping.step(optimizer, [gradient], [variable])
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
    # One of them as a graph: to trace it takes ten times as long as these steps.
    step = tf.function(model.take_step) if make is OPTIMIZERS["Adam"] else model.take_step
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


def test_nan_is_stepped_and_seen():
    variable = _words()
    gradient = np.zeros((5, 3), np.float32)
    gradient[4, 2] = np.nan
    assert np.isnan(stepping.step(keras.optimizers.Adam(0.01), [tf.constant(gradient)], [variable]))
    assert np.isnan(variable.numpy()[4, 2])


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


def test_accumulated_gradients_of_a_modality_that_is_there_every_other_step():
    """Two steps of which the second has no text are one step with the mean of both gradients."""
    variables = [_words(), _words(1)]
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    for text in (1.0, 0.0):
        stepping.step(optimizer, [tf.ones([5, 3]), tf.fill([5, 3], text)], variables)
    for variable, before, mean in zip(variables, (_words(), _words(1)), (1.0, 0.5), strict=True):
        np.testing.assert_allclose(before.numpy() - variable.numpy(), 0.1 * mean, rtol=1e-5)
