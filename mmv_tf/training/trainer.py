"""The inner loop of training, for Orbit's Controller."""

import contextlib
import math
import sys
import time

import keras
import orbit
import tensorflow as tf
import tqdm
from absl import logging
from orbit import controller

from mmv_tf.inputs.faults import explain_data_error
from mmv_tf.training.strategies import lost_worker_in_one_line

_FEW = 4  # steps, after the first one, until the bar is drawn again


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


def rate_of_last_step(optimizer) -> float:
    """The learning rate of the step that was taken last; of a schedule, `optimizer.learning_rate` is the next one's."""
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(rate(max(int(optimizer.iterations.numpy()) - 1, 0)))
    return float(tf.convert_to_tensor(rate))


class Trainer(orbit.AbstractTrainer):
    """Runs `model.take_step` on every replica, `num_steps` times a call, inside one tf.function.

    Args:
      model: a compiled MMV.
      pipeline: an InputPipeline; what its batches lack (`InputPipeline.boxed`), each replica does of its own.
      strategy: tf.distribute.Strategy.
      step: the global step, a tf.Variable; restored before the first call.
      batch_size: clips in the global batch.
      seed: of the data's order and augmentation.
      total_steps: for the progress bar.
      jit_compile: compile the step with XLA (a TPU always does).
      clips: how many clips the run has taken, a tf.Variable int64, kept up to date; None: batch_size a step.
      times_input: log the share of time that is spent waiting for input; TensorFlow's clock is not there where its
        operations have to be deterministic.
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
        clips: tf.Variable | None = None,
        times_input: bool = True,
    ):
        self.model = model
        self._clips, self._times_input = clips, times_input
        self.last_logs: dict[str, float] = {}
        self._pipeline, self._strategy, self._step = pipeline, strategy, step
        self._batch_size, self._seed, self._total_steps = batch_size, seed, total_steps
        self._take_step = model.compiled_step() if jit_compile else model.take_step
        if not getattr(pipeline, "is_finished", True):
            finish = tf.function(pipeline.finish, autograph=False, jit_compile=jit_compile)
            taken = self._take_step
            self._take_step = tf.autograph.experimental.do_not_convert(lambda batch: taken(finish(batch)))
        self._iterator = None
        self._first_step = 0  # of the loop that is running
        self._bar = None

    @contextlib.contextmanager
    def progress(self, first_step: int):
        """Shows a progress bar while training runs."""
        with tqdm.tqdm(total=self._total_steps, initial=first_step, unit="step", dynamic_ncols=True) as self._bar:
            yield
        self._bar = None

    def train(self, num_steps):
        """A loop of steps; returns the logs, which Orbit hands to the train actions."""
        self._first_step, first = int(self._step.numpy()), self._iterator is None
        if first:  # only now is the step known to be the restored one
            start = self._place(self._first_step) or {"start_step": self._first_step}
            self._iterator = iter(
                self._strategy.distribute_datasets_from_function(
                    lambda context: self._pipeline.training_dataset(
                        self._batch_size, seed=self._seed, input_context=context, **start
                    )
                )
            )
        try:
            with lost_worker_in_one_line(self._strategy):
                results = self._timed_loop(int(num_steps), first)
                sums, waited, bad_step, bad_sums, timed, seconds = results
        except tf.errors.InvalidArgumentError as error:
            if fault := explain_data_error(error):
                raise ValueError(f"after step {int(self._step.numpy())}: {fault}") from error
            # TensorFlow does not say which record it could not decode: the pipeline looks for it.
            first_step, place = self._first_step, self._place(self._first_step)
            if fault := self._pipeline.find_fault(self._batch_size, self._seed, first_step, int(num_steps), **place):
                raise ValueError(fault) from error
            raise
        if bad_step >= 0:
            raise FloatingPointError(self._explain_nan(int(bad_step), bad_sums.numpy()))
        if self._clips is not None:
            self._clips.assign_add(int(num_steps) * self._batch_size)
        means = {
            name: float(total / weight)
            for name, (total, weight) in zip(self.model.log_names, sums.numpy(), strict=True)
            if weight  # a step without a single clip of some source has no mean of it
        }
        self.last_logs = {
            **means,
            "learning_rate": rate_of_last_step(self.model.optimizer),
        }
        if timed:  # a loop of one step that was traced as well tells nothing of the speed
            self.last_logs |= {
                "clips_per_second": timed * self._batch_size / seconds,
                **({"input_wait": waited / seconds} if self._times_input else {}),
            }
        if self._bar is not None:
            loss, rate = self.last_logs["total_loss"], self.last_logs.get("clips_per_second", math.nan)
            self._bar.set_postfix(loss=f"{loss:.3f}", clips_s=f"{rate:.1f}")
        return {name: tf.constant(value) for name, value in self.last_logs.items()}

    def _place(self, step: int) -> dict[str, int]:
        """Where the batch after `step` begins, if clips are counted; otherwise the step says it."""
        if self._clips is None:
            return {}
        return {"start_clip": int(self._clips.numpy()) + (step - self._first_step) * self._batch_size}

    def _timed_loop(self, num_steps: int, first: bool):
        """`_loop`, of how many steps the time was taken, and the seconds that they took.

        The first step of a run traces and compiles, which is no speed of the run: it is not among those. A few steps
        after it the bar knows how long the run will take.
        """
        few = min(_FEW, num_steps - 1)
        parts = [1, few, num_steps - 1 - few] if first else [num_steps]
        sums, all_waited, timed, seconds = tf.zeros([len(self.model.log_names), 2]), 0.0, 0, 0.0
        for number, steps in enumerate(parts):
            if not steps:
                continue
            is_traced = first and not number
            with self._tracing() if is_traced else contextlib.nullcontext():
                started = time.perf_counter()
                sums, waited, *bad = self._loop(self._iterator, tf.constant(steps), sums)
                sums.numpy()  # it has ended
            if bad[0] >= 0:
                break
            if not is_traced:
                all_waited, timed = all_waited + float(waited), timed + steps
                seconds += time.perf_counter() - started
            if self._bar is not None:
                self._bar.update(steps)
        return sums, all_waited, *bad, timed, seconds

    @contextlib.contextmanager
    def _tracing(self):
        """Says in the bar what the first step is waiting for, and how long it took."""
        if self._bar is None:
            yield
            return
        began = time.perf_counter()
        self._bar.set_description("tracing and compiling the first step")
        yield
        self._bar.set_description(None)
        self._bar.write(f"first step after {time.perf_counter() - began:.1f} s", file=sys.stderr)
        self._bar.unpause()  # what it took is no speed of the steps that come

    @tf.function
    def _loop(self, iterator, num_steps, sums):
        """`sums` of the logs with those of the steps added, seconds spent waiting for input, and the first step with a
        NaN or Inf (-1: none) and its sums."""
        bad_sums = tf.zeros_like(sums)
        waited, bad_step = tf.constant(0.0, tf.float64), tf.constant(-1, tf.int64)
        for _ in tf.range(num_steps):
            with tf.control_dependencies([sums]):  # the step before has ended
                asked = self._now()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)[:1]):
                arrived = self._now()
            waited += arrived - asked
            results = self._strategy.run(self._step_after(arrived), args=(batch,))
            step_sums = self._strategy.experimental_local_results(results)[0]  # equal on all replicas
            step = self._step.read_value()
            first = (bad_step < 0) & ~tf.reduce_all(tf.math.is_finite(step_sums))
            bad_step, bad_sums = tf.where(first, step, bad_step), tf.where(first, step_sums, bad_sums)
            sums += step_sums
            with tf.control_dependencies([step_sums]):  # a step counts when it has been taken
                self._step.assign_add(1)
        return sums, waited, bad_step, bad_sums

    def _step_after(self, arrived):
        """The step, of which nothing that takes the batch begins before the time `arrived` is taken.

        TensorFlow may take that time whenever the batch is there: with one thread, at the end of the step, all of which
        would then count as waiting. A TPU has the step as a whole, and no place for a clock in it.
        """
        if not self._times_input or isinstance(self._strategy, tf.distribute.TPUStrategy):
            return self._take_step

        @tf.autograph.experimental.do_not_convert
        def take(batch):
            with tf.control_dependencies([arrived]):
                batch = tf.nest.map_structure(tf.identity, batch)
            return self._take_step(batch)

        return take

    def _now(self):
        return tf.timestamp() if self._times_input else tf.constant(0.0, tf.float64)

    def _explain_nan(self, step: int, sums) -> str:
        names = self.model.log_names
        parts = [name for name, values in zip(names, sums, strict=True) if not all(map(math.isfinite, values))]
        clips = self._pipeline.keys_of_step(self._batch_size, self._seed, step, **self._place(step))
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
