"""The inner loop of training, for Orbit's Controller."""

import contextlib
import os
import time

import orbit
import tensorflow as tf
import tqdm

from mmv_tf.input_pipeline import explain_data_error


@contextlib.contextmanager
def quiet_orbit():
    """Orbit prints every loop's logs to stdout; the progress bar shows them instead."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


class Trainer(orbit.AbstractTrainer):
    """Runs `model.train_step` on every replica, `num_steps` times a call, inside one tf.function.

    Args:
      model: a compiled MMV.
      pipeline: an InputPipeline.
      strategy: tf.distribute.Strategy.
      step: the global step, a tf.Variable; restored before the first call.
      batch_size: clips in the global batch.
      seed: of the data's order and augmentation.
      total_steps: for the progress bar.
    """

    def __init__(self, model, pipeline, strategy, step: tf.Variable, batch_size: int, seed: int, total_steps: int):
        self.model = model
        self.last_logs: dict[str, float] = {}
        self._pipeline, self._strategy, self._step = pipeline, strategy, step
        self._batch_size, self._seed, self._total_steps = batch_size, seed, total_steps
        self._iterator = None
        self._bar = None

    @contextlib.contextmanager
    def progress(self, first_step: int):
        """Shows a progress bar while training runs."""
        with tqdm.tqdm(total=self._total_steps, initial=first_step, unit="step", dynamic_ncols=True) as self._bar:
            yield
        self._bar = None

    def train(self, num_steps):
        if self._iterator is None:  # only now is the step known to be the restored one
            first_step = int(self._step.numpy())
            self._iterator = iter(
                self._strategy.distribute_datasets_from_function(
                    lambda context: self._pipeline.training_dataset(
                        self._batch_size, seed=self._seed, start_step=first_step, input_context=context
                    )
                )
            )
        started = time.perf_counter()
        try:
            mean, bad_step, bad_logs = self._loop(self._iterator, num_steps)
        except tf.errors.OpError as error:
            if fault := explain_data_error(error):
                raise ValueError(f"after step {int(self._step.numpy())}: {fault}") from error
            raise
        if bad_step >= 0:
            parts = [n for n, v in zip(self.model.log_names, bad_logs.numpy(), strict=True) if not tf.math.is_finite(v)]
            raise FloatingPointError(
                f"Step {int(bad_step) + 1}: {', '.join(parts)} became NaN or Inf. Training stopped; "
                "the newest checkpoint is from before. Lower the learning rate, or look at the clips of that step."
            )
        seconds = time.perf_counter() - started
        logs = dict(zip(self.model.log_names, mean.numpy().tolist(), strict=True))
        logs["learning_rate"] = float(tf.convert_to_tensor(self.model.optimizer.learning_rate))
        logs["clips_per_second"] = float(num_steps) * self._batch_size / seconds
        self.last_logs = logs
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{logs['total_loss']:.3f}", clips_s=f"{logs['clips_per_second']:.1f}")
            self._bar.update(int(num_steps))
        return {name: tf.constant(value) for name, value in logs.items()}

    def _replica_step(self, batch):
        logs = self.model.train_step(batch)
        return tf.stack([logs[name] for name in self.model.log_names])

    @tf.function
    def _loop(self, iterator, num_steps):
        """Mean logs over the steps; the first step that had a NaN or Inf (-1: none), and its logs."""
        size = len(self.model.log_names)
        total, bad_logs = tf.zeros([size]), tf.zeros([size])
        bad_step = tf.constant(-1, tf.int64)
        for _ in tf.range(num_steps):
            results = self._strategy.run(self._replica_step, args=(next(iterator),))
            logs = self._strategy.experimental_local_results(results)[0]  # equal on all replicas
            step = self._step.read_value()
            first = (bad_step < 0) & ~tf.reduce_all(tf.math.is_finite(logs))
            bad_step, bad_logs = tf.where(first, step, bad_step), tf.where(first, logs, bad_logs)
            total += logs
            self._step.assign_add(1)
        return total / tf.cast(num_steps, tf.float32), bad_step, bad_logs
