"""Checkpoints of a run: written whole or not at all, restored strictly, kept as long as asked for."""

import os
import re

import gin
import tensorflow as tf

from mmv_tf.training import checkpoint_files, optimizer_state, strategies
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.per_record import state

KEPT = "kept"


class Checkpoints:
    """A run's model, optimiser, step and place in the data in `workdir`/checkpoints, as an Orbit train action.

    It saves every so often. A checkpoint counts from the moment in which the small file `checkpoint` names it, which
    comes after all else: a process that is killed while it writes leaves the one before in force.

    Args:
      workdir: folder of the run; may be remote. Several processes must share it.
      model: a built MMV.
      optimizer: its built optimiser.
      step: the global step, a tf.Variable.
      every: steps. `__call__` saves in the first loop that reaches a multiple of it.
      keep: how many of the newest checkpoints stay.
      keep_every: steps; a copy of the checkpoint at each multiple goes to `checkpoints/kept`, and is never deleted.
        0: none. A multiple of `every`.
      strategy: tf.distribute.Strategy. Every process calls `restore`, `save` and `__call__`; the chief alone writes.
      clips: how many clips the run has taken, a tf.Variable int64; None: nobody asks.
      batch_size: clips a step: of checkpoints of earlier versions, which hold no `clips`, if the workdir does not say.

    Raises:
      ValueError: `every`, `keep` or `keep_every` out of range, or the newest checkpoint is not whole.
    """

    def __init__(
        self,
        workdir,
        model,
        optimizer,
        step,
        *,
        every: int,
        keep: int,
        keep_every: int = 0,
        strategy,
        clips: tf.Variable | None = None,
        batch_size: int = 0,
    ):
        if every <= 0 or keep <= 0:
            raise ValueError(f"checkpoints every {every} steps, {keep} of them to keep: both must be positive.")
        if keep_every % every:
            raise ValueError(f"keep_every = {keep_every} must be a multiple of the steps between checkpoints, {every}.")
        self._model, self._step, self._strategy = model, step, strategy
        self._workdir, self._optimizer, self._clips, self._batch_size = workdir, optimizer, clips, batch_size
        self._every, self._keep_every = every, keep_every
        self._folder = os.path.join(workdir, workdirs.CHECKPOINTS)
        checkpoint = workdirs.make_checkpoint(model, step, optimizer, clips)
        before = checkpoint_files.newest(self._folder, strategies.say(strategy))
        if before and strategies.is_chief(strategy):
            checkpoint_files.repair(self._folder, before)
        self._newest = tf.train.CheckpointManager(checkpoint, self._folder, max_to_keep=keep)
        self._kept = tf.train.CheckpointManager(checkpoint, os.path.join(self._folder, KEPT), max_to_keep=None)
        self._saved: int | None = None  # the step of the newest whole checkpoint

    def restore(self) -> bool:
        """Restores the newest checkpoint; whether there was one.

        One that holds weights alone (an import) begins a run: the optimiser stays as it is.

        Raises:
          ValueError: the checkpoint does not fit the model; or the processes do not see the same one.
        """
        if strategies.is_chief(self._strategy):
            for folder in (self._newest.directory, self._kept.directory):
                _remove_unfinished(folder)
        path = checkpoint_files.newest(self._folder, say=lambda line: None)  # said before
        if path:
            with self._strategy.scope():
                workdirs.restore(workdirs.make_checkpoint(self._model, self._step), path)
                if self._model.per_record is not None:
                    for line in state.restore(self._model.per_record, path, self._model.seed):
                        print(line, flush=True)
                self._restore_place(path)
                if workdirs.holds_optimizer(path):
                    same = self._same_settings()
                    for line in optimizer_state.restore(self._optimizer, self._model, path, same):
                        print(line, flush=True)
            self._saved = int(self._step.numpy())
        steps = strategies.everyone(self._strategy, -1 if self._saved is None else self._saved)
        if len(set(steps)) > 1:
            raise ValueError(
                f"The processes restored the steps {steps} (-1: nothing): --workdir must be a folder that all of "
                f"them share, and {self._folder} is not."
            )
        return path is not None

    def _restore_place(self, path: str) -> None:
        """The place in the data: it is counted in clips, so that another batch size goes on where it was."""
        if self._clips is None:
            return
        if any(name.startswith("clips/") for name, _ in tf.train.list_variables(path)):
            workdirs.restore(tf.train.Checkpoint(clips=self._clips), path)
        else:
            before = workdirs.earlier_setting(self._workdir, "train.batch_size")
            self._clips.assign(int(self._step.numpy()) * (int(before) if before else self._batch_size))

    def _same_settings(self) -> bool:
        """Whether what orders the optimiser's variables is configured as in the workdir."""
        now = gin.operative_config_str()
        return all(
            before is None or before == workdirs.setting(now, name)
            for name in ("train.optimizer", "Graph.heads", "Graph.spaces", "MMV.backbones")
            for before in [workdirs.earlier_setting(self._workdir, name)]
        )

    def save(self) -> None:
        """Writes a checkpoint of this step, unless there is one.

        Raises:
          OSError: it could not be written; the one before is whole. Raised in every process.
        """
        step = int(self._step.numpy())
        if step == self._saved:
            return
        failure = self._write(step) if strategies.is_chief(self._strategy) else None
        if any(strategies.everyone(self._strategy, int(failure is not None))):
            before = "no checkpoint was there before"
            if self._saved is not None:
                before = f"the checkpoint of step {self._saved} is whole, and the same command goes on from there"
            reason = failure or "see the error of the first process"
            raise OSError(f"The checkpoint of step {step} could not be written to {self._folder}: {reason}; {before}.")
        self._saved = step

    def __call__(self, output=None) -> None:
        if int(self._step.numpy()) // self._every > (self._saved or 0) // self._every:
            self.save()

    def _write(self, step: int) -> str | None:
        """Writes; the reason if that failed."""
        try:
            # First: were the process killed between the two, the next one would come by this step again.
            if self._keep_every and step // self._keep_every > (self._saved or 0) // self._keep_every:
                self._kept.save(checkpoint_number=step)
            self._newest.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            reason = str(getattr(error, "message", error)).partition("\n")[0]
            return re.sub(r"\{\{.*?\}\} ?| ?\[Op:\w+\]", "", reason)  # TensorFlow's names of its own operations
        return None


def _remove_unfinished(folder: str) -> None:
    """Removes what a process left that was killed while it wrote: TensorFlow writes under these names, and renames."""
    if tf.io.gfile.isdir(folder):
        for name in tf.io.gfile.listdir(folder):
            path = os.path.join(folder, name)
            if name.rstrip("/").endswith("_temp"):  # remote file systems list folders with a slash
                tf.io.gfile.rmtree(path)
            elif name.startswith("checkpoint.tmp"):
                tf.io.gfile.remove(path)
