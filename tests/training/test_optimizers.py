"""Learning rates by hand; LARS against numpy, on two replicas, and through a checkpoint; names that gin refuses."""

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from helpers.system_arrays import arrays, normal
from mmv_tf.model import stepping
from mmv_tf.training import workdir
from mmv_tf.training.optimizers import LARS, gdt_warmup, multi_step, warmup_cosine, with_l2, with_rates


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


def test_lars_steps_kernels_of_convolutions():
    kernel, gradient = normal((3, 3, 2, 4), 1), normal((3, 3, 2, 4), 2)
    variable = keras.Variable(kernel)
    LARS(0.5, trust=0.1).apply([gradient], [variable])
    ratio = 0.1 * np.linalg.norm(kernel) / np.linalg.norm(gradient)
    np.testing.assert_allclose(variable, kernel - 0.5 * ratio * gradient, rtol=1e-5, atol=1e-6)


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


def test_the_schedules_of_other_systems():
    golden = arrays("schedules")
    schedule = warmup_cosine(20_000, peak=1.0, warmup_steps=1000)
    inside = golden["milnce/steps"] <= 20_000  # after its end that of MIL-NCE rises again
    rates = [float(schedule(step)) for step in golden["milnce/steps"][inside]]
    np.testing.assert_allclose(rates, golden["milnce/factor"][inside], rtol=1e-5, atol=1e-8)
    for every in (1, 7):
        schedule = gdt_warmup(0.01, 64.0, 10, (15, 25), steps_per_epoch=every)
        for step in (0, every - 1):
            rates = [float(schedule(epoch * every + step)) for epoch in range(40)]
            np.testing.assert_allclose(rates, golden["gdt/lr_of_epoch"], rtol=1e-5)
    golden = arrays("simclr_loss_lars/schedule")
    schedule = warmup_cosine(1_281_167 * 100 // 512 + 1, peak=0.3 * 512 / 256, warmup_steps=1_281_167 * 10 // 512)
    rates = [float(schedule(step)) for step in golden["steps"]]
    np.testing.assert_allclose(rates, golden["lr"], rtol=1e-5, atol=1e-7)


def test_steps_down_by_hand():
    schedule = multi_step(1.0, (4, 6), factor=0.5, warmup=2, start=0.2)
    assert [float(schedule(step)) for step in range(8)] == pytest.approx([0.2, 0.6, 1, 1, 0.5, 0.5, 0.25, 0.25])
    again = type(schedule).from_config(schedule.get_config())
    assert float(again(5)) == 0.5
    assert float(multi_step(2.0)(10**6)) == 2.0
    for wrong in ((6, 4), (2, 4), (4, 4)):
        with pytest.raises(
            ValueError, match=r"multi_step.milestones = .* must rise, and lie behind multi_step.warmup = 2"
        ):
            multi_step(1.0, wrong, warmup=2)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("classic", [False, True])
def test_lars_is_that_of_simclr(classic, nesterov):
    names = {"dense/kernel": (6, 5), "dense/bias": (5,), "batch_normalization/gamma": (5,)}
    variables = [keras.Variable(normal(shape, 200 + i)) for i, shape in enumerate(names.values())]
    optimizer = LARS(0.5, weight_decay=0.01, joint_ratio=True, classic=classic, nesterov=nesterov)
    for step in range(3):
        gradients = [0.1 * normal(shape, 300 + 10 * step + i) for i, shape in enumerate(names.values())]
        optimizer.apply(gradients, variables)
        golden = arrays(f"simclr_loss_lars/lars/nesterov{nesterov:d}_classic{classic:d}/step{step}")
        for name, variable in zip(names, variables, strict=True):
            np.testing.assert_allclose(variable, golden[name], rtol=1e-5, atol=1e-7, err_msg=f"{name} {step}")


@pytest.mark.parametrize("vectors", [True, False])
def test_l2_is_a_part_of_the_gradient(vectors):
    """SGD with momentum as PyTorch writes it, v <- .9 v + g + d w and w <- w - rate v; Adam divides by it, too."""
    start, gradients = [normal((3, 2), 1), normal((2,), 2)], [normal((3, 2), 3), normal((2,), 4)]
    variables = [keras.Variable(value) for value in start]
    optimizer = with_l2(lambda: keras.optimizers.SGD(0.1, momentum=0.9), 0.5, vectors)
    decays, weights, velocities = (0.5, 0.5 * vectors), [w.copy() for w in start], [0.0, 0.0]
    for _ in range(3):
        stepping.step(optimizer, [tf.constant(g) for g in gradients], variables)
        for i, g in enumerate(gradients):
            velocities[i] = 0.9 * velocities[i] + g + decays[i] * weights[i]
            weights[i] = weights[i] - 0.1 * velocities[i]
    for variable, value in zip(variables, weights, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-5)
    variable = keras.Variable(np.array([[1.0, -1.0]], np.float32))
    adam = with_l2(lambda: keras.optimizers.Adam(0.1), 1.0)
    stepping.step(adam, [tf.constant([[-0.5, 0.5]])], [variable])  # the sum has the sign of the weight
    np.testing.assert_allclose(variable, [[0.9, -0.9]], rtol=1e-5)


@pytest.mark.parametrize("rule", [keras.optimizers.SGD, LARS])
def test_a_head_has_a_rate_of_its_own(rule):
    """By the graph's name of it, in the variables of a model; all others have the rate of the optimiser."""
    changes, gradients = [], None
    for factor in (1.0, 10.0):
        model = toy.mmv(graphs.fac(), compiled=False)
        gradients = gradients or [tf.constant(normal(v.shape, n)) for n, v in enumerate(model.trainable_variables)]
        optimizer = with_rates(lambda: rule(0.01), {"va -> vat": factor})
        before = {name: v.numpy() for name, v in model.named_variables().items()}
        stepping.step(optimizer, gradients, model.trainable_variables)
        changes.append({name: v.numpy() - before[name] for name, v in model.named_variables().items()})
    factors = {}
    for name, change in changes[0].items():
        if np.any(change):
            size = np.linalg.norm(changes[1][name]) / np.linalg.norm(change)
            factors.setdefault(name.partition("/")[0], set()).add(round(float(size), 2))
    assert factors.pop("va -> vat") == {10.0} and len(factors) == 6 and set(map(tuple, factors.values())) == {(1.0,)}


def test_a_rate_for_a_head_that_is_not_there_is_an_error():
    model = toy.mmv(graphs.va(), compiled=False)
    optimizer = with_rates(lambda: keras.optimizers.SGD(0.01), {"z -> h": 10.0})
    zeros = [tf.zeros(v.shape) for v in model.trainable_variables]
    with pytest.raises(ValueError, match=r"heads has 'z -> h', and .* there are audio -> va, video -> va\."):
        stepping.step(optimizer, zeros, model.trainable_variables)
