"""Pretraining: a run, read from top to bottom.

    python -m mmv_tf.train --gin_file=gin/fac.gin --workdir=runs/fac --gin_param="TRAIN_DATA='records/train-*'"

The same command goes on where an earlier one stopped. Everything random is a function of (seed, step), and the
position in the data is a function of the step, so that a run which was killed follows the path of one that was not.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Literal

import keras

from mmv_tf.common import command, config, paths
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, Seed
from mmv_tf.training.per_record.refresh import Refresh


@configurable(denylist=["workdir", "strategy", "mode"])
def train(
    workdir: str | os.PathLike,
    strategy: object,
    mode: Literal["train", "init"] = "train",
    steps: CountOrNone = 500_000,
    batch_size: Count = 512,
    optimizer: Callable[[], keras.optimizers.Optimizer] | None = None,
    seed: Seed = 0,
    steps_per_loop: Count = 100,
    checkpoint_every: Count = 1000,
    checkpoints_to_keep: Count = 3,
    keep_every: CountOrNone = 0,
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    jit_compile: bool = False,
    deterministic: bool = False,
    init_from: str | os.PathLike = "",
    init_parts: Sequence[str] = (),
    refresh: Refresh | None = None,
) -> dict[str, float]:
    """Trains the configured MMV on the configured data until `steps`.

    Args:
      workdir: folder of the run (see mmv_tf.training.workdir); may be remote. Several machines share it.
      strategy: tf.distribute.Strategy.
      mode: 'train', or 'init', which writes the checkpoint of the untrained network and stops.
      steps: optimiser steps in all, those of earlier sittings included.
      batch_size: clips in the global batch; the negatives of the losses come from all of it.
      optimizer: constructor of a Keras 3 optimiser (gin: `@Adam`).
      seed: of the initial weights, the order of the data and the augmentations.
      steps_per_loop: steps between two looks at the result by the host; also how often is logged.
      checkpoint_every: steps, a multiple of steps_per_loop.
      checkpoints_to_keep: how many of the newest checkpoints stay ...
      keep_every: ... and of which steps they stay for good (a multiple of checkpoint_every; 0: none).
      precision: 'float32' or 'mixed_bfloat16' (activations; weights, statistics, heads and losses stay float32);
        'mixed_float16', for GPUs without bfloat16, scales the loss, and leaves out steps in which that overflows.
      jit_compile: compile the step with XLA (always so on TPU).
      deterministic: ask TensorFlow for operations that give the same bits every time, in this process for good. A run
        says whether it is repeatable (docs/pretraining.md, "Stops and faults").
      init_from: a workdir or checkpoint whose weights the run begins with, such as imported ones; and whose memories,
        where the graph has them, if its records were the same.
      init_parts: backbones ('video'), heads ('va -> vat') and scorers to take from there; () is all.
      refresh: what is computed from all training records between steps (@Refresh()), for tables of the graph.

    Returns:
      The logs of the last loop, as floats.

    Raises:
      FloatingPointError: a loss or a gradient became NaN or Inf; names the step and the part. The last checkpoint is
        from before it.
      Preempted: SIGTERM or Ctrl-C came; the checkpoint of that step is written.
    """
    import orbit
    import tensorflow as tf

    from mmv_tf.common import files
    from mmv_tf.inputs.pipeline import InputPipeline
    from mmv_tf.model.mmv import MMV
    from mmv_tf.training import outlook, schedules, strategies
    from mmv_tf.training import workdir as workdirs
    from mmv_tf.training.checkpointing import Checkpoints
    from mmv_tf.training.observer import Observer
    from mmv_tf.training.per_record import state
    from mmv_tf.training.per_record.refresh import Refreshing
    from mmv_tf.training.preemption import Preempted, Preemption
    from mmv_tf.training.probe import Probe
    from mmv_tf.training.trainer import Trainer, quiet_orbit

    workdir = paths.plain(workdir, "--workdir")
    _check_settings(strategy, batch_size, steps_per_loop, checkpoint_every, optimizer)
    if init_parts and not init_from:
        raise ValueError(f"train.init_parts = {tuple(init_parts)} are parts of train.init_from, which is not set.")
    chief = strategies.is_chief(strategy)
    compiled = jit_compile or isinstance(strategy, tf.distribute.TPUStrategy)  # then every shape must be known

    if deterministic:
        tf.config.experimental.enable_op_determinism()

    # 1. The model: variables are made by a real call inside the scope, from a seed.
    keras.utils.set_random_seed(seed)
    pipeline, probe = InputPipeline(), Probe()
    if refresh and refresh.every % steps_per_loop:
        raise ValueError(
            f"Refresh.every = {refresh.every} must be a multiple of train.steps_per_loop = {steps_per_loop}."
        )
    if probe.every % steps_per_loop:
        raise ValueError(f"Probe.every = {probe.every} must be a multiple of train.steps_per_loop = {steps_per_loop}.")
    building = command.waiting_for("building the network", chief)
    with building, strategy.scope(), _dtype_policy(precision):
        model = MMV()
        workdirs.check_fit(model, pipeline)
        model.compile(optimizer=schedules.for_batch(_made(optimizer), batch_size), jit_compile=compiled)
        model.build_by_call(pipeline.zeros(batch_size=1))
        model.optimizer.build(model.trainable_variables)
        step = orbit.utils.create_global_step()
        clips = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
    model.seed = seed
    model.source_names = pipeline.source_names if len(pipeline.source_names) > 1 else ()
    if mode == "train":  # which alone knows of how many records
        state.prepare(model, pipeline, batch_size, strategy, refresh.what.widths if refresh else None)

    # 2. Checkpoints: the newest complete one is restored here, if there is one.
    checkpoints = Checkpoints(
        workdir,
        model,
        model.optimizer,
        step,
        every=checkpoint_every,
        keep=checkpoints_to_keep,
        keep_every=keep_every,
        strategy=strategy,
        clips=clips,
        batch_size=batch_size,
    )
    workdirs.check_words(workdir, pipeline)
    resumed = checkpoints.restore()
    if model.per_record and not resumed:
        model.per_record.begin(seed)
    if init_from and not resumed:
        words = pipeline.text.words if pipeline.text else ()
        with strategy.scope():
            taken = workdirs.initialise(model, init_from, init_parts, words)
        print(f"weights of {init_from}:", *taken, sep="\n  ", flush=True)
    if mode == "init" and resumed:
        raise ValueError(f"--mode=init: {workdir} holds step {int(step.numpy())}; choose another --workdir.")

    records = None
    if chief and mode == "train" and int(step.numpy()) < steps:
        records = pipeline.training_contents(batch_size)
        workdirs.check_records(workdir, records)

    # 3. What the run is, beside its checkpoints: export and evaluation need nothing else. Only now, when it is known
    # that this configuration fits what is in the workdir.
    if chief:
        workdirs.describe(workdir, pipeline, config.operative(), init_from, records)
    if not resumed:
        checkpoints.save()  # the untrained network: what all that follows is compared with
    if mode == "init":
        print(f"the untrained network is in {workdir}", flush=True)
        return {}

    # 4. The run: loops of steps_per_loop steps; after each, whatever is due: checkpoint, probe, warning, stop.
    fed = pipeline
    if pipeline.finishes_on_accelerator(strategies.on_accelerator(strategy)) and int(step.numpy()) < steps:
        with command.waiting_for("looking how large frames are", chief):
            fed = pipeline.boxed()
    trainer = Trainer(
        model, fed, strategy, step, batch_size, seed, steps, jit_compile, clips, times_input=not deterministic
    )
    first_step, started = int(step.numpy()), time.time()
    if resumed:
        print(f"resumed from step {first_step} of {steps} in {workdir}", flush=True)
    if chief and (line := schedules.note(model.optimizer, steps)):
        print(line, flush=True)
    if first_step >= steps:
        print("nothing is left to do: train.steps says how far to go", flush=True)
        return {}
    if chief:
        print(*fed.training_notes(batch_size), fed.who_does_what(), _repeatable(deterministic), sep="\n", flush=True)
    pipeline.keep_bad_records(os.path.join(workdir, f"bad_records-{strategies.host_of(strategy)}.json"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet_orbit())
        actions = [checkpoints, stack.enter_context(Preemption(strategy))]
        if refresh:
            actions.insert(0, Refreshing(refresh, model, fed, strategy, step, batch_size, seed, steps))
            actions[0]()
        if chief:
            observer = Observer(workdir, model, fed, step, batch_size, probe)
            with command.waiting_for("drawing example clips, probing the network as it is", first_step == 0):
                observer.begin(config.operative(), seed)
            actions.insert(0, observer)
        controller = orbit.Controller(
            global_step=step,
            trainer=trainer,
            strategy=strategy,
            steps_per_loop=steps_per_loop,
            train_actions=actions,
        )
        stack.enter_context(trainer.progress(first_step))
        try:
            controller.train(steps)
        except Preempted:
            checkpoints.save()
            raise
        checkpoints.save()

    # 5. What it ended with.
    summary = {
        "steps": int(step.numpy()),
        "seconds": round(time.time() - started, 1),
        "steps_in_this_sitting": int(step.numpy()) - first_step,
        "parameters": model.count_params(),
        "replicas": strategy.num_replicas_in_sync,
        **outlook.spent(),
        **trainer.last_logs,
    }
    if chief:
        summary |= {**observer.last_probe, "bad_records": pipeline.bad_records}
        files.write_text(os.path.join(workdir, workdirs.SUMMARY), json.dumps(summary, indent=2) + "\n")
        clips = sum(sum(one.records) for one in records or ())
        print(*outlook.table(summary, batch_size), sep="\n", flush=True)
        passes = summary["steps"] * batch_size / max(1, clips)
        print(*outlook.sentences(clips, passes, observer.history.probes, summary, batch_size), sep="\n", flush=True)
        print(f"all figures: {os.path.join(workdir, workdirs.SUMMARY)}", flush=True)
    return trainer.last_logs


@contextlib.contextmanager
def _dtype_policy(name: str):
    """Layers made inside compute in the precision `name`; those made later in this process do not."""
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy(name)
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def _repeatable(deterministic: bool) -> str:
    if deterministic:
        return "repeatable: TensorFlow is asked for the same bits every time (train.deterministic)"
    return (
        "repeatable but for the last digits: clips, order and augmentation are the same every time, and rounding need "
        "not be (train.deterministic = True asks TensorFlow for it)"
    )


def _made(optimizer) -> keras.optimizers.Optimizer:
    made = optimizer()
    if parts := made.gradient_accumulation_steps:
        # Schedules and draws would go on in one step in so many only, and replicas cannot meet in Keras' branch.
        raise ValueError(
            f"{type(made).__name__}.gradient_accumulation_steps = {parts}: take it away and set MMV.micro_batches = "
            f"{parts}, which computes a batch in parts and compares it as a whole."
        )
    return made


def _check_settings(strategy, batch_size, steps_per_loop, checkpoint_every, optimizer):
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(f"train.batch_size = {batch_size} cannot be divided among {replicas} replicas.")
    if checkpoint_every % steps_per_loop:
        raise ValueError(
            f"train.checkpoint_every = {checkpoint_every} must be a multiple of "
            f"train.steps_per_loop = {steps_per_loop}."
        )
    if optimizer is None:
        raise ValueError(
            "train.optimizer is not set: include 'gin/optim/adam_cosine.gin', or bind one of training/optimizers.py."
        )
