"""The inner loop of training, for Orbit's Controller."""

import contextlib
import math
import time

import orbit
import tensorflow as tf
import tqdm
from absl import logging
from orbit import controller

from mmv_tf.inputs.faults import explain_data_error
from mmv_tf.training.strategies import lost_worker_in_one_line


@contextlib.contextmanager
def quiet_orbit():
    """Orbit prints what it logs, every loop's results above all; the progress bar shows them instead.

    Only Orbit's lines: whatever else prints while training runs is seen.
    """
    before, controller._log = controller._log, logging.info
    try:
        yield
    finally:
        controller._log = before


class Trainer(orbit.AbstractTrainer):
    """Runs `model.take_step` on every replica, `num_steps` times a call, inside one tf.function.

    Args:
      model: a compiled MMV.
      pipeline: an InputPipeline.
      strategy: tf.distribute.Strategy.
      step: the global step, a tf.Variable; restored before the first call.
      batch_size: clips in the global batch.
      seed: of the data's order and augmentation.
      total_steps: for the progress bar.
      jit_compile: compile the step with XLA (a TPU always does).
    """

    def __init__(
        self,
        model,
        pipeline,
        strategy,
        step: tf.Variable,
        batch_size: int,
        seed: int,
        total_steps: int,
        jit_compile: bool = False,
    ):
        self.model = model
        self.last_logs: dict[str, float] = {}
        self._pipeline, self._strategy, self._step = pipeline, strategy, step
        self._batch_size, self._seed, self._total_steps = batch_size, seed, total_steps
        self._take_step = tf.function(model.take_step, jit_compile=True) if jit_compile else model.take_step
        self._iterator = None
        self._bar = None

    @contextlib.contextmanager
    def progress(self, first_step: int):
        """Shows a progress bar while training runs."""
        with tqdm.tqdm(total=self._total_steps, initial=first_step, unit="step", dynamic_ncols=True) as self._bar:
            yield
        self._bar = None

    def train(self, num_steps):
        """A loop of steps; returns the logs, which Orbit hands to the train actions."""
        if self._iterator is None:  # only now is the step known to be the restored one
            first_step = int(self._step.numpy())
            self._iterator = iter(
                self._strategy.distribute_datasets_from_function(
                    lambda context: self._pipeline.training_dataset(
                        self._batch_size, seed=self._seed, start_step=first_step, input_context=context
                    )
                )
            )
        first_step, started = int(self._step.numpy()), time.perf_counter()
        try:
            with lost_worker_in_one_line(self._strategy):
                sums, waited, bad_step, bad_sums = self._loop(self._iterator, num_steps)
        except tf.errors.InvalidArgumentError as error:
            if fault := explain_data_error(error):
                raise ValueError(f"after step {int(self._step.numpy())}: {fault}") from error
            # TensorFlow does not say which record it could not decode: the pipeline looks for it.
            if fault := self._pipeline.find_fault(self._batch_size, self._seed, first_step, int(num_steps)):
                raise ValueError(fault) from error
            raise
        if bad_step >= 0:
            raise FloatingPointError(self._explain_nan(int(bad_step), bad_sums.numpy()))
        seconds = time.perf_counter() - started
        means = {
            name: float(total / weight)
            for name, (total, weight) in zip(self.model.log_names, sums.numpy(), strict=True)
            if weight  # a step without a single clip of some source has no mean of it
        }
        self.last_logs = {
            **means,
            "learning_rate": float(tf.convert_to_tensor(self.model.optimizer.learning_rate)),
            "clips_per_second": float(num_steps) * self._batch_size / seconds,
            "input_wait": float(waited) / seconds,
        }
        if self._bar is not None:
            loss, rate = self.last_logs["total_loss"], self.last_logs["clips_per_second"]
            self._bar.set_postfix(loss=f"{loss:.3f}", clips_s=f"{rate:.1f}")
            self._bar.update(int(num_steps))
        return {name: tf.constant(value) for name, value in self.last_logs.items()}

    @tf.function
    def _loop(self, iterator, num_steps):
        """Sums of the logs over the steps, seconds spent waiting for input, and the first step that had a NaN or Inf
        (-1: none) with its sums."""
        shape = [len(self.model.log_names), 2]
        sums, bad_sums = tf.zeros(shape), tf.zeros(shape)
        waited, bad_step = tf.constant(0.0, tf.float64), tf.constant(-1, tf.int64)
        for _ in tf.range(num_steps):
            with tf.control_dependencies([sums]):  # the step before has ended
                asked = tf.timestamp()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)[:1]):
                waited += tf.timestamp() - asked
            results = self._strategy.run(self._take_step, args=(batch,))
            step_sums = self._strategy.experimental_local_results(results)[0]  # equal on all replicas
            step = self._step.read_value()
            first = (bad_step < 0) & ~tf.reduce_all(tf.math.is_finite(step_sums))
            bad_step, bad_sums = tf.where(first, step, bad_step), tf.where(first, step_sums, bad_sums)
            sums += step_sums
            with tf.control_dependencies([sums]):  # a step counts once it is done: faults name the number
                self._step.assign_add(1)
        return sums, waited, bad_step, bad_sums

    def _explain_nan(self, step: int, sums) -> str:
        names = self.model.log_names
        parts = [name for name, values in zip(names, sums, strict=True) if not all(map(math.isfinite, values))]
        clips = self._pipeline.keys_of_step(self._batch_size, self._seed, step)
        guilty = [key for _, key, broken in clips if broken]
        cause = (
            f"The input of {', '.join(guilty[:5])} is not finite: look at these clips."
            if guilty
            else "The input of that step is finite: lower the learning rate."
        )
        return (
            f"Step {step + 1}: {', '.join(parts)} became NaN or Inf. Training stopped; the newest checkpoint is from "
            f"before. {cause}"
        )
