"""Refreshing: tables that are computed from the whole training set between steps.

    train.refresh = @Refresh()
    Refresh.every = 111510
    Refresh.what = @agreement()

At the start of a run and each `every` steps, before the checkpoint of that step is written. The tables are part of the
checkpoint, with the step they are of: a run that was killed goes on with the same, or computes it again, to the bit.
"""

import random
import time
import zlib

import numpy as np
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count
from mmv_tf.training import optimizer_state, strategies
from mmv_tf.training.per_record.whole_set import Computation, WholeSet


@configurable
class Refresh:
    """When what is computed.

    Args:
      every: steps between two refreshes, a multiple of train.steps_per_loop.
      what: a Computation, such as @agreement().
    """

    def __init__(self, every: Count, what: Computation):
        self.every, self.what = every, what


class Refreshing:
    """A run's refreshes, as an Orbit train action.

    Args:
      refresh: the Refresh.
      model: a built MMV with `per_record`.
      pipeline: the InputPipeline of the run.
      strategy: tf.distribute.Strategy. Every process computes the same, and that is checked.
      step: the global step, a tf.Variable.
      batch_size, seed: of the run.
      until: step at which the run ends: nothing is refreshed then, for no step would see it. A run that goes on from
        there does it first. None: no such step.

    Raises:
      ValueError: `what` resets a head that the model does not have.
    """

    def __init__(self, refresh: Refresh, model, pipeline, strategy, step, batch_size: int, seed: int, until=None):
        self._refresh, self._model, self._pipeline, self._strategy = refresh, model, pipeline, strategy
        self._step, self._batch_size, self._seed, self._until = step, batch_size, seed, until
        self._first = int(step.numpy())  # of this sitting
        for head in refresh.what.resets:
            if head not in model.heads:
                known = ", ".join(map(repr, model.heads))
                raise ValueError(f"{_name(refresh.what)} resets the head {head!r}, and the model has {known}.")

    def __call__(self, output=None) -> None:
        step, before = int(self._step.numpy()), int(self._model.per_record.refreshed.numpy())
        if step == self._until:
            return
        if before < 0 or step // self._refresh.every > before // self._refresh.every:
            self._run(step)

    def _run(self, step):
        number, what, kept = step // self._refresh.every, self._refresh.what, self._model.per_record
        say, is_chief = strategies.say(self._strategy), strategies.is_chief(self._strategy)
        begun = kept.begun if step == self._first else ()  # later they hold what steps have written
        whole = WholeSet(self._model, self._pipeline, self._batch_size, number, self._seed, say, is_chief, begun)
        started, checksum = time.perf_counter(), 0
        tables = {name: np.asarray(values) for name, values in what.compute(whole).items()}
        for name, values in tables.items():
            wanted = (kept.count, what.widths[name])
            if values.shape != wanted or values.dtype != np.int32:
                raise ValueError(f"{_name(what)}: table {name} is {values.dtype} {values.shape}, not int32 {wanted}")
            checksum = zlib.crc32(values.tobytes(), checksum)
        if len(set(strategies.everyone(self._strategy, checksum))) > 1:
            raise ValueError(f"refresh {number} at step {step}: the processes of the run computed different tables")
        for name, values in tables.items():
            kept.set_table(name, values)
        for head in what.resets:
            reset_head(self._model, head, whole.seed)
        kept.refreshed.assign(step)
        empty = {name: int((values < 0).any(axis=1).sum()) for name, values in tables.items()}
        told = ", ".join(f"{name}{f' ({n:,} records without)' if n else ''}" for name, n in empty.items())
        anew = f"; {', '.join(what.resets)} begin anew" if what.resets else ""
        say(f"refresh {number} at step {step}: {told}, {time.perf_counter() - started:.1f} s{anew}")


def reset_head(model, head: str, seed: int) -> None:
    """Gives a head the weights of a new one, drawn from a seed and its name, and the optimiser's state of it zeros."""
    layer = model.heads[head]
    first = layer.hidden[0] if layer.hidden else layer.projection
    state = random.getstate()
    random.seed(zlib.crc32(head.encode(), seed))  # from which Keras takes the seeds of initialisers
    try:
        fresh = type(layer)(layer.head, layer.dim, name=layer.name, dtype=layer.dtype_policy)
        fresh(tf.zeros([1, first.kernel.shape[0]]))
    finally:
        random.setstate(state)
    for variable, new in zip(layer.variables, fresh.variables, strict=True):
        variable.assign(new.numpy())
    weights = model.named_variables()
    for name, slot in optimizer_state.named(model.optimizer, model).items():
        kind, _, owner = name.partition("/")
        if owner.startswith(f"{head}/"):
            slot.assign(weights[owner].numpy() if kind == "average" else np.zeros(slot.shape, slot.dtype))


def _name(what) -> str:
    return type(what).__name__
