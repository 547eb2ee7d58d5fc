"""New scales and offsets for the norms of an image network, so that it does what the video network does."""

import json
import math
import os

import keras
import numpy as np
import tensorflow as tf
import tqdm

from mmv_tf.deflation.images import Crops
from mmv_tf.deflation.settings import Deflation
from mmv_tf.deflation.targets import embedder, outputs, to_float
from mmv_tf.training import checkpoint_files
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.preemption import Preempted

STATE = "state"


def trained_variables(network: keras.layers.Layer) -> dict[str, keras.Variable]:
    """{stable name: scale or offset of a norm}: all of an image network that is trained.

    Of batch norms, as in the paper; a transformer has layer norms in their place, whose names are those of Keras.
    """
    named = {v.path.partition("/")[2]: v for v in network.trainable_variables}
    return {name: v for name, v in named.items() if name.rpartition("/")[2] in ("scale", "offset", "gamma", "beta")}


class Training:
    """Minimises the mean absolute difference between an image network and targets, by its scales and offsets alone.

    All else is frozen, the moving averages too. The order of crops is a function of seed and step, so that a run which
    was killed goes on as if it had not been.

    Args:
      network: the image network, with the scales and offsets to begin with.
      held_out, held_out_targets: crops to stop by, and what the network should make of them, [N, D].
      folder: where the state is kept.
      made_for: what the training is of (images, settings, weights); another state in the folder is not gone on with.
      normalised: of the run's VideoInput.
    """

    def __init__(
        self,
        network,
        held_out: Crops,
        held_out_targets,
        settings: Deflation,
        folder: str,
        made_for: str,
        normalised=tf.identity,
    ):
        self._normalised = normalised
        self._network, self._embed, self._settings = network, embedder(network, self._normalised), settings
        self._held_out, self._held_out_targets = held_out, held_out_targets
        self._variables = trained_variables(network)
        if not self._variables:
            raise ValueError(f"{network.name} has no norm with a scale and an offset: nothing is to be trained.")
        schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.steps)
        self._optimizer = keras.optimizers.Adam(schedule)
        self._optimizer.build(list(self._variables.values()))
        self.step = tf.Variable(0, dtype=tf.int64)
        self._best = {name: tf.Variable(v.value) for name, v in self._variables.items()}
        self._history, self._made_for = tf.Variable("[]"), tf.Variable(made_for)
        self._losses = tf.Variable("[]")  # of the steps since the last check, as numbers in JSON
        self._folder = os.path.join(folder, STATE)
        self._writer = tf.summary.create_file_writer(folder)
        self._state = {
            "weights": {name: v.value for name, v in self._variables.items()},
            "best": self._best,
            "optimizer": {f"{i:05d}": v.value for i, v in enumerate(self._optimizer.variables)},
            "step": self.step,
            "history": self._history,
            "made_for": self._made_for,
        }
        checkpoint = tf.train.Checkpoint(**self._state, losses=self._losses)
        self._manager = tf.train.CheckpointManager(checkpoint, self._folder, max_to_keep=1)

    @property
    def history(self) -> list[dict]:
        """[{'step', 'held_out_l1', 'train_l1'}] of the checks so far; 'train_l1' is that of the steps before it."""
        return json.loads(self._history.numpy())

    def best(self) -> dict:
        """The check with the smallest L1 on the held-out images."""
        return min(self.history, key=lambda check: check["held_out_l1"])

    def restore(self) -> bool:
        """Goes on from the state in the folder; whether there was one that is made for the same."""
        path = checkpoint_files.newest(self._manager.directory)
        if not path:
            return False
        stored = tf.train.load_checkpoint(path)
        made_for = stored.get_tensor("made_for/.ATTRIBUTES/VARIABLE_VALUE").decode()
        if made_for != self._made_for.numpy().decode():
            tf.io.gfile.rmtree(self._folder)
            print("other images, settings or weights than those that were deflated before: begins anew", flush=True)
            return False
        has_losses = stored.has_tensor("losses/.ATTRIBUTES/VARIABLE_VALUE")  # not those of earlier versions
        workdirs.restore(self._manager.checkpoint if has_losses else tf.train.Checkpoint(**self._state), path)
        return True

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or the held-out images have not got better for long."""
        checks = self.history
        patient = bool(checks) and len(checks) - 1 - checks.index(self.best()) >= self._settings.patience
        return patient or int(self.step.numpy()) >= self._settings.steps

    def summary(self) -> dict[str, float]:
        checks = self.history
        return {
            "steps": int(self.step.numpy()),
            "best_step": self.best()["step"],
            "held_out_l1_naive": checks[0]["held_out_l1"],
            "held_out_l1_trained": self.best()["held_out_l1"],
        }

    def give_best(self) -> None:
        """Gives the network the scales and offsets of the best check."""
        for name, variable in self._variables.items():
            variable.assign(self._best[name])

    def run(self, crops: Crops, targets: np.ndarray, stop) -> None:
        """Trains from the restored step on until it has `ended`.

        Args:
          crops, targets: what to learn from: `len(crops)` images, [N, D].
          stop: called after each step; raises Preempted if the run is to end (see `mmv_tf.training.preemption`).
        Raises:
          FloatingPointError: the difference became NaN or Inf; names the step.
          Preempted: SIGTERM or Ctrl-C came; the state is saved.
        """
        if not self.history:
            self._check(train_l1=None)
        s = self._settings
        with tqdm.tqdm(total=s.steps, initial=int(self.step.numpy()), unit="step", dynamic_ncols=True) as bar:
            losses = json.loads(self._losses.numpy())
            batches = iter(crops.batches(self._order(int(self.step.numpy()), len(crops)), s.batch_size))
            targets = tf.constant(targets)
            while not self.ended:
                batch, numbers = next(batches)
                losses.append(self._train_step(batch, tf.gather(targets, numbers)))
                self.step.assign_add(1)
                step = int(self.step.numpy())
                bar.update()
                if step % s.check_every == 0 or step == s.steps:
                    mean = float(np.mean(np.array(losses, np.float32)))
                    if not math.isfinite(mean):
                        raise FloatingPointError(
                            f"Step {step}: the difference to the video network became NaN or Inf in the last "
                            f"{len(losses)} steps: lower Deflation.learning_rate = {s.learning_rate}."
                        )
                    losses = []
                    self._losses.assign("[]")
                    self._check(mean)
                    bar.set_postfix(l1=f"{mean:.4g}", held_out=f"{self.history[-1]['held_out_l1']:.4g}")
                try:
                    stop()
                except Preempted:
                    self._losses.assign(json.dumps([float(loss) for loss in losses]))
                    self._manager.save(checkpoint_number=step)
                    raise

    def _order(self, first_step: int, count: int) -> np.ndarray:
        """Numbers of the crops from step `first_step` on: one permutation of all of them after the other."""
        first, last = first_step * self._settings.batch_size, self._settings.steps * self._settings.batch_size
        epochs = range(first // count, -(-last // count))
        order = [np.random.default_rng((self._settings.seed, epoch)).permutation(count) for epoch in epochs]
        begin = first - epochs.start * count
        return np.concatenate(order or [np.zeros(0, np.int64)])[begin : begin + last - first]

    def _check(self, train_l1: float | None) -> None:
        made = outputs(self._embed, self._held_out, self._settings.batch_size)
        value, history, step = float(np.abs(made - self._held_out_targets).mean()), self.history, int(self.step.numpy())
        if not history or value < self.best()["held_out_l1"]:
            for name, variable in self._variables.items():
                self._best[name].assign(variable.value)
        history.append({"step": step, "held_out_l1": value, "train_l1": train_l1})
        self._history.assign(json.dumps(history))
        self._manager.save(checkpoint_number=step)
        with self._writer.as_default(step):
            tf.summary.scalar("l1/held_out", value)
            if train_l1 is not None:
                tf.summary.scalar("l1/train", train_l1)
        self._writer.flush()

    @tf.function(autograph=False)
    def _train_step(self, crops, targets):
        variables = list(self._variables.values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            made = tf.cast(self._network(self._normalised(to_float(crops)), training=False), tf.float32)
            loss = tf.reduce_mean(tf.abs(made - targets))
        self._optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss
