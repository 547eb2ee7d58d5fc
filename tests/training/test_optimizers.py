"""Learning rates by hand; LARS against numpy, on two replicas, and through a checkpoint; names that gin refuses."""

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.training import workdir
from mmv_tf.training.optimizers import LARS, warmup_cosine


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.0), (10, 0.2), (25, 0.5), (50, 1.0), (100, 0.5 + 0.5 * 0.5**0.5), (150, 0.5), (250, 0.0), (999, 0.0)],
)
def test_warmup_and_half_a_period_of_a_cosine(step, rate):
    assert float(warmup_cosine(250, peak=2.0, warmup_steps=50)(step)) == pytest.approx(2 * rate, abs=1e-6)


def test_the_floor_of_the_cosine():
    schedule = warmup_cosine(100, peak=0.002, warmup_steps=0, floor=0.0005)
    assert [float(schedule(step)) for step in (0, 50, 100)] == pytest.approx([0.002, 0.00125, 0.0005], rel=1e-5)


def test_a_warmup_that_leaves_nothing_is_an_error():
    with pytest.raises(ValueError, match="warmup_steps = 5000 leaves nothing of total_steps = 400"):
        warmup_cosine(400)


VALUES = {
    "kernel": np.array([[3.0, 4.0], [0.0, 12.0]], np.float32),
    "zero": np.zeros((2, 2), np.float32),
    "bias": np.array([1.0, 2.0], np.float32),
}
SETTINGS = {"momentum": 0.9, "weight_decay": 0.1, "trust": 0.02}


def _gradients(step: int) -> list[np.ndarray]:
    rs = np.random.RandomState(step)
    return [rs.standard_normal(value.shape).astype(np.float32) for value in VALUES.values()]


def _by_hand(steps: int, rates) -> list[np.ndarray]:
    """Algorithm 1 of arXiv 1708.03888 in numpy."""
    weights = [value.astype(np.float64) for value in VALUES.values()]
    velocities = [np.zeros_like(w) for w in weights]
    for step in range(steps):
        for i, g in enumerate(_gradients(step)):
            w, ratio = weights[i], 1.0
            if w.ndim > 1:
                size = np.linalg.norm(w)
                if size:
                    ratio = SETTINGS["trust"] * size / (np.linalg.norm(g) + SETTINGS["weight_decay"] * size)
                g = g + SETTINGS["weight_decay"] * w
            velocities[i] = SETTINGS["momentum"] * velocities[i] + rates[step] * ratio * g
            weights[i] = w - velocities[i]
    return weights


def _variables():
    return [keras.Variable(value, name=name) for name, value in VALUES.items()]


def test_lars_by_hand():
    variables, schedule = _variables(), warmup_cosine(8, peak=3.0, warmup_steps=2)
    optimizer = LARS(schedule, **SETTINGS)
    for step in range(5):
        optimizer.apply(_gradients(step), variables)
    expected = _by_hand(5, [float(schedule(step)) for step in range(5)])
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-6, err_msg=variable.name)


def test_a_zero_gradient_moves_by_momentum_alone_and_stays_finite():
    variable = keras.Variable(np.ones((2, 2), np.float32))
    optimizer = LARS(1.0, momentum=0.5, trust=0.5)
    optimizer.apply([np.full((2, 2), 7.0, np.float32)], [variable])  # v = .5 * 2 / 14 * 7 = 0.5
    optimizer.apply([np.zeros((2, 2), np.float32)], [variable])
    np.testing.assert_allclose(variable, 1 - 0.5 - 0.25, rtol=1e-6)


def test_lars_on_two_replicas_takes_the_steps_of_one():
    """Gradients are sums over replicas, so each replica gives half of them."""
    strategy, alone = toy.mirrored(2), _variables()
    with strategy.scope():
        shared = _variables()
        optimizer = LARS(0.5, **SETTINGS)
        optimizer.build(shared)
    single = LARS(0.5, **SETTINGS)
    single.build(alone)

    @tf.function
    def step(gradients):
        strategy.run(lambda g: optimizer.apply([x / 2 for x in g], shared), args=(gradients,))

    for number in range(3):
        step([tf.constant(g) for g in _gradients(number)])
        single.apply(_gradients(number), alone)
    for one, two in zip(alone, shared, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-6, atol=1e-7, err_msg=one.name)


def test_lars_goes_on_from_a_checkpoint(tmp_path):
    def compiled(seed):
        model = toy.mmv(graphs.fac(), seed, compiled=False)
        model.compile(optimizer=LARS(0.5, **SETTINGS))
        model.optimizer.build(model.trainable_variables)
        return model, workdir.make_checkpoint(model, tf.Variable(0, dtype=tf.int64), model.optimizer)

    (model, checkpoint), (other, target) = compiled(seed=0), compiled(seed=1)
    for step in range(2):
        model.train_step(toy.batch(4, step))
    workdir.restore(target, checkpoint.save(str(tmp_path / "ckpt")))
    for each in (model, other):
        each.train_step(toy.batch(4, 2))
    assert np.abs(model.optimizer.variables[-1]).max() > 0
    for mine, its in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(its, mine, err_msg=mine.path)


def test_lars_keeps_its_settings():
    made = LARS.from_config(LARS(0.25, **SETTINGS).get_config())
    assert (made.momentum, made.decay, made.trust, float(made.learning_rate)) == (0.9, 0.1, 0.02, 0.25)
    assert made.weight_decay is None  # the base class would take it off once more
    with pytest.raises(ValueError, match=r"LARS.trust = 0: must be a number above 0"):
        LARS(trust=0)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Lamb", "LARS"])
def test_optimisers_by_gin(name):
    gin.parse_config(f"{name}.learning_rate = 0.125")
    optimizer = gin.get_configurable(name)()
    assert type(optimizer).__name__ == name and float(optimizer.learning_rate) == 0.125
    with pytest.raises(ValueError, match="learning_rat"):
        gin.parse_config(f"{name}.learning_rat = 0.1")
