"""The inner loop: what it logs, that it stops on NaN with the step's number, and that it runs on several replicas."""

import keras
import numpy as np
import orbit
import pytest
import tensorflow as tf
from tensorflow.python.data.experimental.ops import testing

from helpers import graphs, toy
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


def _trainer(strategy, pipeline=None, graph=graphs.fac, batch_size=BATCH, **options):
    with strategy.scope():
        model = toy.mmv(graph())
        step = orbit.utils.create_global_step()
    return Trainer(model, pipeline or ToyPipeline(), strategy, step, batch_size, seed=3, total_steps=8, **options)


def test_a_loop_logs_means_over_its_steps_and_counts_them():
    trainer = _trainer(tf.distribute.get_strategy())
    one_by_one = toy.mmv(graphs.fac())
    expected = [float(one_by_one.train_step(toy.batch(BATCH, seed=3000 + n))["total_loss"]) for n in range(4)]
    logs = trainer.train(tf.constant(4))
    np.testing.assert_allclose(logs["total_loss"], np.mean(expected), rtol=1e-5)
    assert {"loss/video_audio", "accuracy/video_text", "learning_rate", "clips_per_second"} <= logs.keys()
    assert int(trainer._step.numpy()) == 4


class SlowPipeline(ToyPipeline):
    """Its batches come a fifth of a second apart."""

    def training_dataset(self, *args, **options):
        return super().training_dataset(*args, **options).apply(testing.sleep(200_000))


def test_waiting_for_input_is_told_and_nothing_else():
    trainer = _trainer(tf.distribute.get_strategy(), SlowPipeline())
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


def test_nan_stops_the_run_and_names_the_step_and_the_part():
    trainer = _trainer(tf.distribute.get_strategy(), ToyPipeline(poisoned=2))
    named = r"Step 3: .*loss/video_audio.* became NaN.*clip2 is not finite"
    with pytest.raises(FloatingPointError, match=named) as error:
        trainer.train(tf.constant(4))
    assert "loss/video_text" not in str(error.value)


def test_two_replicas_train_as_one_device():
    one = _trainer(tf.distribute.get_strategy(), graph=graphs.va).train(tf.constant(4))
    two = _trainer(toy.mirrored(2), graph=graphs.va).train(tf.constant(4))
    for name in (n for n in one if "loss" in n):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, err_msg=name)


def test_only_what_orbit_says_is_silenced(capsys):
    """A print of an action, or of anything else that runs while training does, is seen."""
    trainer = _trainer(tf.distribute.get_strategy(), graph=graphs.va)
    with quiet_orbit():
        orbit.Controller(
            global_step=trainer._step,
            trainer=trainer,
            strategy=tf.distribute.get_strategy(),
            steps_per_loop=2,
            train_actions=[lambda output: print("from an action")],
        ).train(2)
    assert capsys.readouterr().out == "from an action\n"


def test_the_learning_rate_is_that_of_the_steps_that_were_taken():
    """A schedule of 1, 0.5, 0.25 ...: after two steps the logged rate is that of the second one."""
    trainer = _trainer(tf.distribute.get_strategy(), graph=graphs.va)
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    trainer.model.compile(optimizer=keras.optimizers.SGD(schedule))
    trainer.model.optimizer.build(trainer.model.trainable_variables)
    assert float(trainer.train(tf.constant(2))["learning_rate"]) == 0.5
    assert float(trainer.train(tf.constant(1))["learning_rate"]) == 0.25


def test_the_first_step_which_is_traced_is_no_speed_of_the_run():
    trainer = _trainer(tf.distribute.get_strategy(), graph=graphs.va)
    first, second = trainer.train(tf.constant(1)), trainer.train(tf.constant(2))
    assert "clips_per_second" not in first and float(second["clips_per_second"]) > 0
    other = _trainer(tf.distribute.get_strategy(), graph=graphs.va)
    at_once = other.train(tf.constant(3))
    # Tracing takes seconds, a step of the toy milliseconds.
    assert float(at_once["clips_per_second"]) > float(second["clips_per_second"]) / 20


def test_the_place_in_the_data_goes_on_with_another_batch_size():
    asked = []

    class Noting(ToyPipeline):
        def training_dataset(self, global_batch_size, seed, start_clip=0, input_context=None):
            asked.append(start_clip)
            return super().training_dataset(global_batch_size, seed, start_clip // global_batch_size, input_context)

    clips = tf.Variable(24, dtype=tf.int64)  # three steps of 8, of an earlier sitting
    trainer = _trainer(tf.distribute.get_strategy(), Noting(), graph=graphs.va, clips=clips, batch_size=4)
    trainer._step.assign(3)
    trainer.train(tf.constant(2))
    assert asked == [24] and int(clips) == 24 + 2 * 4


def test_the_bar_says_what_the_first_step_waits_for_and_moves_soon_after(capsys, monkeypatch):
    trainer, seen = _trainer(tf.distribute.get_strategy(), graph=graphs.va), []
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
