"""Training of scales and offsets: the optimum, the same path after a stop, early stopping, NaN."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from mmv_tf.deflation.settings import Deflation
from mmv_tf.deflation.targets import embedder, kept_outputs, outputs
from mmv_tf.deflation.training import Training, trained_variables
from mmv_tf.training.preemption import Preempted


class Pixels:
    """Crops without files."""

    def __init__(self, count, seed=0):
        self.pixels = np.random.RandomState(seed).randint(0, 256, (count, 4, 4, 3), np.uint8)

    def __len__(self):
        return len(self.pixels)

    def name(self, number):
        return f"image {number}"

    def batches(self, numbers, batch_size):
        numbers = np.asarray(numbers, np.int64)
        return tf.data.Dataset.from_tensor_slices((self.pixels[numbers], numbers)).batch(batch_size)


def network():
    keras.utils.set_random_seed(0)
    layer = toy.ToyBackbone()
    layer(np.zeros((1, 4, 4, 3), np.float32))
    return layer


def wanted(layer, crops):
    """What the network would give with scale 1.5 and offset .5."""
    values = [variable.numpy() for variable in trained_variables(layer).values()]
    layer.norm.scale.assign([1.5] * 6)
    layer.norm.offset.assign([0.5] * 6)
    rows = outputs(embedder(layer), crops, 8)
    for variable, value in zip(trained_variables(layer).values(), values, strict=True):
        variable.assign(value)
    return rows


def make(folder, made_for="this", layer=None, **settings):
    layer, held_out = layer or network(), Pixels(10, seed=1)
    settings = Deflation(**{"steps": 300, "learning_rate": 0.05, "check_every": 20, "batch_size": 16, **settings})
    return Training(layer, held_out, wanted(layer, held_out), settings, str(folder), made_for), layer


def never():
    pass


def test_finds_the_scales_and_offsets(tmp_path):
    training, layer = make(tmp_path)
    kernel, crops = layer.dense.kernel.numpy(), Pixels(50)
    training.run(crops, wanted(layer, crops), never)
    training.give_best()
    alive = wanted(layer, crops).max(axis=0) > 0.5
    assert training.summary()["held_out_l1_trained"] < 0.05 * training.summary()["held_out_l1_naive"]
    np.testing.assert_allclose(layer.norm.offset.numpy()[alive], 0.5, atol=0.05)
    np.testing.assert_array_equal(layer.dense.kernel, kernel)
    assert layer.norm.counter == 0 and not layer.norm.moving_mean.numpy().any()
    assert set(trained_variables(layer)) == {"norm/scale", "norm/offset"}


def test_a_stopped_run_goes_on_the_same_path(tmp_path):
    crops = Pixels(50)

    def run(folder, stop=never):
        training, layer = make(folder, steps=50, check_every=10)
        resumed = training.restore()
        training.run(crops, wanted(layer, crops), stop)
        training.give_best()
        return resumed, training.history, [v.numpy() for v in trained_variables(layer).values()]

    steps = []

    def after_17():
        steps.append(1)
        if len(steps) == 17:
            raise Preempted(15)

    with pytest.raises(Preempted):
        run(tmp_path / "stopped", after_17)
    resumed, history, values = run(tmp_path / "stopped")
    not_resumed, undisturbed, expected = run(tmp_path / "undisturbed")
    assert resumed and not not_resumed
    assert history == undisturbed and [check["step"] for check in history] == [0, 10, 20, 30, 40, 50]
    np.testing.assert_array_equal(values, expected)


def test_a_state_of_an_earlier_version_is_gone_on_with(tmp_path):
    """It lacks the losses since the last check: 'train_l1' of the next one is of the steps after the stop alone."""
    crops = Pixels(50)

    def stop():
        if int(training.step.numpy()) == 7:
            raise Preempted(15)

    training, layer = make(tmp_path, steps=10, check_every=10)
    with pytest.raises(Preempted):
        training.run(crops, wanted(layer, crops), stop)
    path = tf.train.latest_checkpoint(tmp_path / "state")
    names = ("weights", "best", "optimizer", "step", "history", "made_for")
    earlier = tf.train.Checkpoint(**{name: getattr(training._manager.checkpoint, name) for name in names})
    tf.train.CheckpointManager(earlier, str(tmp_path / "state"), max_to_keep=1).save(checkpoint_number=7)
    assert not any(name.startswith("losses") for name, _ in tf.train.list_variables(path))
    resumed, layer = make(tmp_path, steps=10, check_every=10)
    assert resumed.restore() and int(resumed.step.numpy()) == 7
    resumed.run(crops, wanted(layer, crops), never)
    assert [check["step"] for check in resumed.history] == [0, 10] and resumed.history[1]["train_l1"] > 0


def test_state_of_something_else_is_not_gone_on_with(tmp_path, capsys):
    crops = Pixels(20)
    training, layer = make(tmp_path, steps=20)
    training.run(crops, wanted(layer, crops), never)
    assert make(tmp_path, steps=20)[0].restore()
    assert not make(tmp_path, made_for="that")[0].restore()
    assert "begins anew" in capsys.readouterr().out
    assert not make(tmp_path)[0].restore()


def test_stops_early_with_the_best(tmp_path):
    # What is to be learned makes the held-out images worse.
    training, layer = make(tmp_path, patience=3)
    start, crops = layer.norm.offset.numpy(), Pixels(50)
    training.run(crops, wanted(layer, crops) * 0, never)
    assert training.summary()["steps"] < 300 and training.ended
    training.give_best()
    best = training.best()
    assert best["held_out_l1"] == min(check["held_out_l1"] for check in training.history)
    if best["step"] == 0:
        np.testing.assert_array_equal(layer.norm.offset, start)


def test_nan_stops_and_is_named(tmp_path):
    training, layer = make(tmp_path)
    crops = Pixels(50)
    targets = wanted(layer, crops)
    targets[7] = np.nan
    with pytest.raises(FloatingPointError, match="Step 20: the difference to the video network became NaN or Inf"):
        training.run(crops, targets, never)
    broken = network()
    broken.dense.kernel.assign(broken.dense.kernel * np.nan)
    with pytest.raises(FloatingPointError, match="image 0: the network makes NaN or Inf of it"):
        outputs(embedder(broken), crops, 8)


def test_outputs_are_kept(tmp_path):
    crops, calls = Pixels(300), []

    def embed(batch):
        calls.append(len(batch))
        return tf.reduce_mean(tf.cast(batch, tf.float32), [1, 2])

    def once():
        raise Preempted(15)

    with pytest.raises(Preempted):
        kept_outputs(embed, crops, 64, str(tmp_path), once)
    assert len(calls) == 2
    rows = kept_outputs(embed, crops, 64, str(tmp_path), never)
    assert len(calls) == 2 + 2 + 1 and set(calls) == {64}
    np.testing.assert_allclose(rows, crops.pixels.mean((1, 2)), rtol=1e-5)


def test_networks_are_shown_pixels_from_0_to_1():
    crops = Pixels(1)
    crops.pixels[0] = np.linspace(0, 255, 48).reshape(4, 4, 3)
    seen = outputs(embedder(lambda x, training: tf.reshape(x, [-1, 48])), crops, 8)
    np.testing.assert_allclose(seen[0], crops.pixels[0].reshape(-1) / 255, rtol=1e-6)
    assert seen.min() == 0 and seen.max() == 1
