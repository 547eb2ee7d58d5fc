"""What a second sitting takes over of an optimiser: by name, and never another optimiser's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from mmv_tf.model.graph import Graph
from mmv_tf.model.mmv import MMV
from mmv_tf.training import checkpointing, optimizer_state
from mmv_tf.training.checkpointing import Checkpoints
from mmv_tf.training.optimizers import LARS

HEADS = [("video", "s", {"hidden": (6,), "batch_norm": True}), ("audio", "s"), ("video", "w"), ("audio", "w")]
PAIRS = [("video", "audio", "s"), ("video", "audio", "w")]
ADAM, SGD = keras.optimizers.Adam, keras.optimizers.SGD


def _model(optimizer, order=(0, 1, 2, 3), names=("video", "audio"), seed=0):
    keras.utils.set_random_seed(seed)
    graph = Graph(spaces={"s": 6, "w": 6}, heads=[HEADS[i] for i in order], pairs=PAIRS)
    model = MMV(backbones={name: toy.ToyBackbone() for name in names}, graph=graph)
    model.build_by_call({name: toy.batch(2)[name] for name in ("video", "audio")})
    model.compile(optimizer=optimizer)
    model.optimizer.build(model.trainable_variables)
    return model


def _checkpoints(folder, model, step=0):
    step = tf.Variable(step, dtype=tf.int64)
    return Checkpoints(
        str(folder), model, model.optimizer, step, every=1, keep=3, strategy=tf.distribute.get_strategy()
    )


def _train(model, steps=3):
    for seed in range(steps):
        batch = toy.batch(8, seed=seed, missing=False)
        model.take_step({name: batch[name] for name in ("video", "audio")})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{optimiser: (folder of a checkpoint of step 3, the model)}."""
    found = {}
    for name, optimizer in (("adam", ADAM(0.02)), ("sgd", SGD(0.02, momentum=0.9))):
        model = _model(optimizer)
        _train(model)
        folder = tmp_path_factory.mktemp(name)
        _checkpoints(folder, model, 3).save()
        found[name] = folder, model
    return found


def _state(model):
    return {name: variable.numpy() for name, variable in optimizer_state.named(model.optimizer, model).items()}


def test_every_slot_is_named_by_its_variable(trained):
    _, model = trained["adam"]
    weights = [name for name, variable in model.named_variables().items() if variable.trainable]
    assert set(_state(model)) == {"iteration", *(f"{s}/{w}" for s in ("momentum", "velocity") for w in weights)}


def test_dots_in_names_are_as_they_were(tmp_path):
    slots = {f"momentum/{name}/kernel": tf.Variable(1.0) for name in ("video -> va.S2", "va.2 -> w", "a..b")}
    path = tf.train.Checkpoint(optimizer={"Adam": slots}).save(str(tmp_path / "ckpt"))
    assert set(optimizer_state._stored(path)["Adam"]) == set(slots)


@pytest.mark.parametrize(("order", "names"), [((0, 3, 2, 1), ("video", "audio")), ((1, 0, 3, 2), ("audio", "video"))])
def test_the_order_of_heads_and_backbones_does_not_matter(trained, order, names):
    folder, before = trained["adam"]
    model = _model(ADAM(0.02), order, names, seed=1)
    assert _checkpoints(folder, model).restore()
    expected, found = _state(before), _state(model)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_the_configured_learning_rate_counts(trained):
    folder, _ = trained["adam"]
    model = _model(ADAM(0.0002), seed=1)
    _checkpoints(folder, model).restore()
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0002)
    scheduled = _model(ADAM(keras.optimizers.schedules.CosineDecay(0.02, 6)), seed=1)
    _checkpoints(folder, scheduled).restore()
    assert float(scheduled.optimizer.learning_rate) == pytest.approx(0.01)  # at step 3 of 6


@pytest.mark.parametrize(
    ("source", "optimizer"), [("sgd", LARS(0.02)), ("sgd", ADAM(0.02)), ("adam", keras.optimizers.AdamW(0.02))]
)
def test_another_optimiser_begins_anew_and_says_so(trained, source, optimizer, capsys):
    folder, before = trained[source]
    model = _model(optimizer, seed=1)
    _checkpoints(folder, model).restore()
    state = _state(model)
    assert state.pop("iteration") == 3 and not any(value.any() for value in state.values())
    said = capsys.readouterr().out
    assert f"is of {type(before.optimizer).__name__}, and {type(optimizer).__name__} is configured" in said
    weights = {name: variable.numpy() for name, variable in before.named_variables().items()}
    assert all(np.array_equal(v.numpy(), weights[name]) for name, v in model.named_variables().items())


@pytest.mark.parametrize(
    ("source", "optimizer", "said"),
    [
        ("adam", lambda: ADAM(0.02, amsgrad=True), "begin anew"),
        ("sgd", lambda: SGD(0.02), "are left out: SGD as it is configured has no such state"),
    ],
)
def test_state_that_only_one_of_them_has_is_told(trained, source, optimizer, said, capsys):
    folder, before = trained[source]
    model = _model(optimizer(), seed=1)
    _checkpoints(folder, model).restore()
    assert said in capsys.readouterr().out
    expected = _state(before)
    assert all(np.array_equal(value, expected[name]) for name, value in _state(model).items() if name in expected)


def _save_as_before(folder, model, step):
    """A checkpoint as version 0.1.0 wrote it: the optimiser's variables by position, the learning rate among them."""
    weights = {name: variable.value for name, variable in model.named_variables().items()}
    state = {f"{i:05d}": variable.value for i, variable in enumerate(model.optimizer.variables)}
    checkpoint = tf.train.Checkpoint(model=weights, step=tf.Variable(step, dtype=tf.int64), optimizer=state)
    tf.train.CheckpointManager(checkpoint, str(folder / "checkpoints"), 1).save(step)


@pytest.mark.parametrize("rate", [0.02, keras.optimizers.schedules.CosineDecay(0.02, 6)])
def test_a_checkpoint_of_an_earlier_version_loads(trained, tmp_path, rate, capsys):
    _, before = trained["adam"]
    _save_as_before(tmp_path, before, 3)
    model = _model(ADAM(rate), seed=1)
    assert _checkpoints(tmp_path, model).restore() and capsys.readouterr().out == ""
    expected = _state(before)
    assert all(np.array_equal(value, expected[name]) for name, value in _state(model).items())


def test_an_earlier_version_and_another_optimiser(trained, tmp_path, capsys, monkeypatch):
    _, before = trained["sgd"]
    _save_as_before(tmp_path, before, 3)
    (tmp_path / "config.gin").write_text("train.optimizer = @keras.optimizers.SGD\n")
    monkeypatch.setattr(checkpointing.gin, "operative_config_str", lambda: "train.optimizer = @mmv_tf.LARS\n")
    model = _model(LARS(0.02), seed=1)
    _checkpoints(tmp_path, model).restore()
    assert "kept the optimiser's state by position" in capsys.readouterr().out
    state = _state(model)
    assert state.pop("iteration") == 3 and not any(value.any() for value in state.values())


def test_the_place_in_the_data_is_counted_in_clips(trained, tmp_path):
    """Of an earlier version: the steps times the batch size that the workdir's configuration has."""
    _, before = trained["sgd"]
    _save_as_before(tmp_path, before, 3)
    clips, options = tf.Variable(0, dtype=tf.int64), dict(every=1, keep=3, strategy=tf.distribute.get_strategy())

    def restored():
        model, step = _model(SGD(0.02, momentum=0.9)), tf.Variable(0, dtype=tf.int64)
        checkpoints = Checkpoints(str(tmp_path), model, model.optimizer, step, clips=clips, batch_size=16, **options)
        checkpoints.restore()
        return checkpoints, step

    restored()
    assert int(clips) == 3 * 16  # nothing says otherwise
    (tmp_path / "config.gin").write_text("train.batch_size = 8\n")
    checkpoints, step = restored()
    assert int(clips) == 3 * 8
    clips.assign_add(16)
    step.assign_add(1)
    checkpoints.save()
    clips.assign(0)
    restored()
    assert int(clips) == 3 * 8 + 16


def test_averages_of_the_weights_are_what_a_checkpoint_gives_and_a_probe_sees(tmp_path):
    model = _model(SGD(0.02, use_ema=True, ema_momentum=0.5))
    _checkpoints(tmp_path / "0", model).save()
    assert optimizer_state.take_averages(model, tf.train.latest_checkpoint(str(tmp_path / "0/checkpoints"))) == 0
    seen = []
    for step in range(3):
        batch = toy.batch(8, seed=step, missing=False)
        model.take_step({name: batch[name] for name in ("video", "audio")})
        seen.append({name: v.numpy() for name, v in model.named_variables().items()})
    trained = [name for name, v in model.named_variables().items() if v.trainable]
    expected = {name: seen[0][name] / 4 + seen[1][name] / 4 + seen[2][name] / 2 for name in trained}
    last = {name: seen[2][name] for name in seen[2]}

    with optimizer_state.averages_in_place(model):
        inside = {name: v.numpy() for name, v in model.named_variables().items()}
    _checkpoints(tmp_path / "3", model, 3).save()
    loaded = _model(SGD(0.5), seed=1)
    path = tf.train.latest_checkpoint(str(tmp_path / "3/checkpoints"))
    assert optimizer_state.take_averages(loaded, path) == len(trained)
    for name in trained:
        np.testing.assert_allclose(inside[name], expected[name], rtol=1e-5, atol=1e-7, err_msg=name)
        np.testing.assert_array_equal(loaded.named_variables()[name], inside[name])
    for name, variable in model.named_variables().items():
        np.testing.assert_array_equal(variable, last[name], err_msg=name)


@pytest.mark.parametrize("source", ["adam", "sgd"])
def test_averages_that_a_checkpoint_does_not_hold_begin_with_its_weights(trained, source):
    folder, before = trained[source]
    model = _model(SGD(0.02, momentum=0.9, use_ema=True), seed=1)
    assert _checkpoints(folder, model).restore()
    averages = {n.removeprefix("average/"): v for n, v in _state(model).items() if n.startswith("average/")}
    assert averages
    for name, average in averages.items():
        np.testing.assert_array_equal(average, before.named_variables()[name], err_msg=name)
