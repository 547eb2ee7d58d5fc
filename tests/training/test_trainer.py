"""The inner loop: what it logs, that NaN or a fault stops it and names the step, and that replicas do the same."""

import keras
import numpy as np
import orbit
import pytest
import tensorflow as tf
from tensorflow.python.data.experimental.ops import testing

from helpers import graphs, toy
from mmv_tf.inputs.faults import FAULT_MARK
from mmv_tf.training.trainer import Trainer, quiet_orbit

BATCH = 8


class ToyPipeline:
    """A stream of toy batches; sound of batch `poisoned` holds a NaN."""

    def __init__(self, poisoned=-1):
        self.poisoned = poisoned

    def keys_of_step(self, global_batch_size, seed, step):
        return [("toy", f"clip{i}", step == self.poisoned and i == 2) for i in range(global_batch_size)]

    def training_dataset(self, global_batch_size, seed, start_step=0, input_context=None):
        batches = []
        for number in range(start_step, start_step + 8):
            batch = toy.batch(global_batch_size, seed=1000 * seed + number)
            if number == self.poisoned:
                batch["audio"] = batch["audio"] + np.nan
            batches.append(batch)
        data = tf.data.Dataset.from_tensor_slices({k: tf.stack([b[k] for b in batches]) for k in batches[0]})
        replicas = input_context.num_replicas_in_sync if input_context else 1
        return data.unbatch().batch(global_batch_size // replicas, drop_remainder=True).repeat()


def _trainer(strategy, pipeline=None, graph=graphs.fac, optimizer=None, **options):
    with strategy.scope():
        model = toy.mmv(graph(), compiled=optimizer is None)
        if optimizer is not None:
            model.compile(optimizer=optimizer())
            model.optimizer.build(model.trainable_variables)
        step = orbit.utils.create_global_step()
    return Trainer(model, pipeline or ToyPipeline(), strategy, step, BATCH, seed=3, total_steps=8, **options)


@pytest.fixture(scope="module")
def trained():
    """One pair on one device, whose loop is traced once for all; a rate of 1, 0.5, 0.25 ..."""
    rate = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    return _trainer(tf.distribute.get_strategy(), graph=graphs.va, optimizer=lambda: keras.optimizers.SGD(rate))


def _anew(trainer, pipeline=None, step=0):
    """The trainer at the beginning of another sitting, with another pipeline."""
    trainer._pipeline, trainer._iterator = pipeline or ToyPipeline(), None
    trainer._step.assign(step)
    trainer.model.optimizer.iterations.assign(step)
    return trainer


def test_a_loop_logs_means_over_its_steps_and_counts_them_until_a_nan_whose_step_and_part_are_named():
    trainer = _trainer(tf.distribute.get_strategy(), ToyPipeline(poisoned=6))
    one_by_one = toy.mmv(graphs.fac())
    expected = [float(one_by_one.train_step(toy.batch(BATCH, seed=3000 + n))["total_loss"]) for n in range(4)]
    logs = trainer.train(tf.constant(4))
    np.testing.assert_allclose(logs["total_loss"], np.mean(expected), rtol=1e-5)
    assert {"loss/video_audio", "accuracy/video_text", "learning_rate", "clips_per_second"} <= logs.keys()
    assert int(trainer._step.numpy()) == 4
    named = r"Step 7: .*loss/video_audio.* became NaN.*clip2 is not finite"
    with pytest.raises(FloatingPointError, match=named) as error:
        trainer.train(tf.constant(4))
    assert "loss/video_text" not in str(error.value)


class SlowPipeline(ToyPipeline):
    """Its batches come a fifth of a second apart."""

    def training_dataset(self, *args, **options):
        return super().training_dataset(*args, **options).apply(testing.sleep(200_000))


def test_waiting_for_input_is_told_and_nothing_else(trained):
    trainer = _anew(trained, SlowPipeline())
    logs = trainer.train(tf.constant(4))
    seconds = 3 * BATCH / logs["clips_per_second"]  # of three steps: the first is not among them
    assert logs["input_wait"] * seconds > 0.3
    # The time of arrival is taken before the step begins, and not whenever TensorFlow comes to it: all that takes the
    # batch takes what waits for that time.
    sums = tf.zeros([len(trainer.model.log_names), 2])
    loop = trainer._loop.get_concrete_function(trainer._iterator, tf.constant(3), sums)
    bodies = ({node.name: node for node in body.node_def} for body in loop.graph.as_graph_def().library.function)
    (nodes,) = (nodes for nodes in bodies if any(node.op == "IteratorGetNext" for node in nodes.values()))
    (batch,) = (node.name for node in nodes.values() if node.op == "IteratorGetNext")
    takers = [node for node in nodes.values() if any(name.split(":")[0] == batch for name in node.input)]
    assert len(takers) >= 5 and {node.op for node in takers} == {"Identity"}
    for node in takers:
        assert "Timestamp" in {nodes[name[1:]].op for name in node.input if name[0] == "^"}, node.name


@pytest.fixture
def weights_of_64_bits():
    """With 32 the rounding of one step grows in the next ones: after twenty, on some processors, to 2e-4."""
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def test_two_replicas_take_the_steps_of_one_device(weights_of_64_bits):
    """By SGD: Adam turns the rounding noise of gradients that should be zero into whole steps."""
    optimizer, losses = lambda: keras.optimizers.SGD(0.002, momentum=0.9), []
    two, one = _trainer(toy.mirrored(2), optimizer=optimizer), toy.mmv(graphs.fac(), compiled=False)
    one.compile(optimizer=optimizer())
    for number in range(6):
        expected, found = one.train_step(toy.batch(BATCH, seed=3000 + number)), two.train(tf.constant(1))
        for name in (n for n in expected if "loss" in n):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)  # the losses have 32 bits
        losses.append(float(expected["total_loss"]))
    assert losses[-1] < losses[0]
    expected = one.named_variables()
    for name, average in two.model.named_variables().items():
        if "moving" in name:
            np.testing.assert_allclose(average, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
    seen = toy.batch(16, seed=99)
    embeddings = one.embed(seen)
    for modality, spaces in two.model.embed(seen).items():
        for space, values in spaces.items():
            expected = embeddings[modality][space].numpy()
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=space)


def test_only_what_orbit_says_is_silenced(trained, capsys):
    """A print of an action, or of anything else that runs while training does, is seen."""
    trainer = _anew(trained)
    with quiet_orbit():
        orbit.Controller(
            global_step=trainer._step,
            trainer=trainer,
            strategy=tf.distribute.get_strategy(),
            steps_per_loop=2,
            train_actions=[lambda output: print("from an action")],
        ).train(2)
    assert capsys.readouterr().out == "from an action\n"


def test_the_learning_rate_is_that_of_the_steps_that_were_taken(trained):
    """After two steps the logged rate is that of the second one."""
    trainer = _anew(trained)
    assert float(trainer.train(tf.constant(2))["learning_rate"]) == 0.5
    assert float(trainer.train(tf.constant(1))["learning_rate"]) == 0.25


def test_the_first_step_which_is_traced_is_no_speed_of_the_run():
    trainer = _trainer(tf.distribute.get_strategy(), graph=graphs.va)
    at_once = trainer.train(tf.constant(3))
    first, second = _anew(trainer).train(tf.constant(1)), trainer.train(tf.constant(2))
    assert "clips_per_second" not in first and float(second["clips_per_second"]) > 0
    # Tracing takes seconds, a step of the toy milliseconds.
    assert float(at_once["clips_per_second"]) > float(second["clips_per_second"]) / 20


def test_the_place_in_the_data_goes_on_with_another_batch_size(trained, monkeypatch):
    asked = []

    class Noting(ToyPipeline):
        def training_dataset(self, global_batch_size, seed, start_clip=0, input_context=None):
            asked.append(start_clip)
            return super().training_dataset(global_batch_size, seed, start_clip // global_batch_size, input_context)

    clips = tf.Variable(16, dtype=tf.int64)  # four steps of 4, of an earlier sitting
    trainer = _anew(trained, Noting(), step=4)
    monkeypatch.setattr(trainer, "_clips", clips)
    trainer.train(tf.constant(2))
    assert asked == [16] and int(clips) == 16 + 2 * BATCH


def test_the_bar_says_what_the_first_step_waits_for_and_moves_soon_after(trained, capsys, monkeypatch):
    trainer, seen = _anew(trained), []
    loop = trainer._loop

    def looked_at(*args):
        seen.append((trainer._bar.desc, trainer._bar.n))
        return loop(*args)

    monkeypatch.setattr(trainer, "_loop", looked_at)
    with trainer.progress(first_step=0):
        trainer.train(tf.constant(8))
        assert trainer._bar.n == 8
    assert seen == [("tracing and compiling the first step: ", 0), ("", 1), ("", 5)]
    assert "first step after " in capsys.readouterr().err


class Faulty:
    """A stream of toy batches that ends in a fault, after so many."""

    def __init__(self, good):
        self.good = good

    def training_dataset(self, global_batch_size, seed, start_step=0, input_context=None):
        def check(number, batch):
            fault = tf.debugging.Assert(number < self.good, [FAULT_MARK + "shard a: record 3 of 9 cannot be read"])
            with tf.control_dependencies([fault]):
                return tf.nest.map_structure(tf.identity, batch)

        return tf.data.Dataset.from_tensors(toy.batch(BATCH)).repeat().enumerate().map(check)


def test_a_fault_names_the_last_step_that_was_done(trained, done=4, good=5):
    trainer = _anew(trained, Faulty(good), step=done)
    with pytest.raises(ValueError) as caught:
        trainer.train(tf.constant(8))
    assert str(caught.value) == f"after step {done + good}: shard a: record 3 of 9 cannot be read"
    assert int(trainer._step.numpy()) == done + good
