"""A fault in the data names the step that was done before it."""

import orbit
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.inputs.faults import FAULT_MARK
from mmv_tf.training.trainer import Trainer

BATCH = 4


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


def test_a_fault_names_the_last_step_that_was_done(done=4, good=5):
    model, step = toy.mmv(graphs.va()), orbit.utils.create_global_step()
    step.assign(done)
    trainer = Trainer(model, Faulty(good), tf.distribute.get_strategy(), step, BATCH, seed=0, total_steps=20)
    with pytest.raises(ValueError) as caught:
        trainer.train(tf.constant(8))
    assert str(caught.value) == f"after step {done + good}: shard a: record 3 of 9 cannot be read"
    assert int(step.numpy()) == done + good
