"""Pretraining: a run, read from top to bottom.

    python -m mmv_tf.train --gin_file=gin/fac.gin --workdir=runs/fac --gin_param="TRAIN_DATA='records/train-*'"

The same command goes on where an earlier one stopped. Everything random is a function of (seed, step), and the
position in the data is a function of the step, so that a run which was killed follows the path of one that was not.
"""

import argparse
import json
import os
import time

if __name__ == "__main__":  # run the imported module instead, so that gin registers each class under one name only
    from mmv_tf.train import cli

    raise SystemExit(cli())

import gin


def strategy_from_flags(distribution_strategy: str, tpu: str | None):
    """A tf.distribute.Strategy by its name in tf-models-official: tpu, mirrored, multi_worker_mirrored, one_device.

    'mirrored' uses every GPU of the machine; 'multi_worker_mirrored' reads TF_CONFIG.
    """
    import tensorflow as tf
    from official.common import distribute_utils

    gpus = len(tf.config.list_physical_devices("GPU"))
    one_device = distribution_strategy == "one_device"
    return distribute_utils.get_distribution_strategy(
        distribution_strategy=distribution_strategy, num_gpus=min(gpus, 1) if one_device else gpus, tpu_address=tpu
    )


@gin.configurable(denylist=["workdir", "strategy", "mode"])
def train(
    workdir: str,
    strategy,
    mode: str = "train",
    steps: int = 500_000,
    batch_size: int = 512,
    optimizer=None,
    seed: int = 0,
    steps_per_loop: int = 100,
    checkpoint_every: int = 1000,
    checkpoints_to_keep: int = 3,
    jit_compile: bool = False,
):
    """Trains the configured MMV on the configured data until `steps`.

    Args:
      workdir: folder of the run (see mmv_tf.workdir); may be remote.
      strategy: tf.distribute.Strategy.
      mode: 'train', or 'init', which writes the checkpoint of the untrained network and stops.
      steps: optimiser steps in all, those of earlier sittings included.
      batch_size: clips in the global batch; the negatives of the losses come from all of it.
      optimizer: constructor of a Keras 3 optimiser (gin: `@Adam`).
      seed: of the initial weights, the order of the data and the augmentations.
      steps_per_loop: steps between two looks at the result by the host; also how often is logged.
      checkpoint_every: steps, a multiple of steps_per_loop.
      checkpoints_to_keep: how many of the newest checkpoints stay.
      jit_compile: compile the step with XLA (always so on TPU).

    Returns:
      The logs of the last loop, as floats.

    Raises:
      FloatingPointError: a loss or a gradient became NaN or Inf; names the step and the part. The last checkpoint is
        from before it.
    """
    import keras
    import orbit
    import tensorflow as tf

    from mmv_tf import files
    from mmv_tf import workdir as workdirs
    from mmv_tf.input_pipeline import InputPipeline
    from mmv_tf.model import MMV
    from mmv_tf.trainer import Trainer, quiet_orbit

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
            "train.optimizer is not set: include 'gin/optim/adam_cosine.gin', or bind one of mmv_tf.optim."
        )

    # 1. The model: variables are made by a real call inside the scope, from a seed.
    keras.utils.set_random_seed(seed)
    pipeline = InputPipeline()
    with strategy.scope():
        model = MMV()
        workdirs.check_fit(model, pipeline)
        model.compile(optimizer=optimizer(), jit_compile=jit_compile)
        model.build_by_call(pipeline.zeros(batch_size=1))
        model.optimizer.build(model.trainable_variables)
        step = orbit.utils.create_global_step()

    # 2. Checkpoints: the newest complete one is restored here, if there is one.
    manager = tf.train.CheckpointManager(
        workdirs.make_checkpoint(model, step, model.optimizer),
        directory=os.path.join(workdir, workdirs.CHECKPOINTS),
        max_to_keep=checkpoints_to_keep,
        step_counter=step,
        checkpoint_interval=checkpoint_every,
    )
    if manager.latest_checkpoint:
        imported = not workdirs.holds_optimizer(manager.latest_checkpoint)  # then the run begins with these weights
        with strategy.scope():
            checkpoint = workdirs.make_checkpoint(model, step) if imported else manager.checkpoint
            workdirs.restore(checkpoint, manager.latest_checkpoint)  # strictly: Orbit would not say what lacks

    # 3. What the run is, beside its checkpoints: export and evaluation need nothing else. Only now, when it is known
    # that this configuration fits what is in the workdir.
    tf.io.gfile.makedirs(workdir)
    pipeline.save_vocabulary(os.path.join(workdir, workdirs.VOCABULARY))
    if changes := workdirs.write_config(workdir, gin.operative_config_str()):
        print("the configuration differs from the one that this workdir began with:", *changes, sep="\n  ", flush=True)
    if mode == "init" and int(step.numpy()):
        raise ValueError(f"--mode=init: {workdir} holds step {int(step.numpy())}; choose another --workdir.")
    if manager.latest_checkpoint is None:
        manager.save(checkpoint_number=0)  # the intervals count from here
    if mode == "init":
        print(f"the untrained network is in {workdir}", flush=True)
        return {}

    # 4. The run: loops of steps_per_loop steps, a checkpoint every checkpoint_every and at the end.
    trainer = Trainer(model, pipeline, strategy, step, batch_size=batch_size, seed=seed, total_steps=steps)
    with quiet_orbit():
        controller = orbit.Controller(
            global_step=step,
            trainer=trainer,
            strategy=strategy,
            steps_per_loop=steps_per_loop,
            checkpoint_manager=manager,
            summary_dir=workdir,
        )
    if int(step.numpy()):
        print(f"resumed from step {int(step.numpy())} of {steps} in {workdir}", flush=True)
    started, first_step = time.time(), int(step.numpy())
    with quiet_orbit(), trainer.progress(first_step):
        controller.train(steps)
    summary = {
        "steps": int(step.numpy()),
        "seconds": round(time.time() - started, 1),
        "steps_in_this_sitting": int(step.numpy()) - first_step,
        "parameters": model.count_params(),
        **{name: float(value) for name, value in trainer.last_logs.items()},
    }
    files.write_text(os.path.join(workdir, "summary.json"), json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2), flush=True)
    return trainer.last_logs


def main(argv=None):
    """Trains an MMV from a gin configuration."""
    parser = argparse.ArgumentParser(prog="python -m mmv_tf.train", description=main.__doc__)
    parser.add_argument("--workdir", required=True, help="folder of the run; the same command again goes on there")
    parser.add_argument("--mode", choices=["train", "init"], default="train", help="init: write the untrained network")
    parser.add_argument(
        "--distribution_strategy",
        choices=["one_device", "mirrored", "multi_worker_mirrored", "tpu"],
        default=None,
        help="default: tpu if --tpu is given, otherwise one_device",
    )
    parser.add_argument("--tpu", default=None, help="name or address of the TPU")
    from mmv_tf import config

    config.add_arguments(parser)
    args = parser.parse_args(argv)
    # The strategy first: several processes must meet before any of them runs an operation.
    strategy = strategy_from_flags(args.distribution_strategy or ("tpu" if args.tpu else "one_device"), args.tpu)
    config.parse(args.gin_file, args.gin_param)
    train(args.workdir, strategy, args.mode)


def cli(argv=None):
    from mmv_tf import config

    return config.run(main, argv)
