"""Training in Keras's own way: an MMV with `compile`, `fit`, a dataset of ours and `keras.callbacks`.

    python examples/keras_fit.py --gin_file=gin/va.gin --gin_file=gin/models/tiny.gin --workdir runs/fit \\
      --gin_param="TRAIN_DATA='records/train-*'" --epochs 4 --steps_per_epoch 50

An `MMV` is a keras.Model whose losses are those of its graph: `compile` takes the optimiser alone, and the logs of
`fit` are what `mmv_tf train` logs: total_loss, accuracy/video_audio (found in the batch), spread/... On one device; for
several, for a run that goes on after a kill, and for the checks on the way there is `mmv_tf train`. What is written at
the end is a workdir all the same: export, evaluation and `mmv_tf.load` take it.
"""

import argparse
import os

import keras
import tensorflow as tf

from mmv_tf.common import command, config
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.model.mmv import MMV
from mmv_tf.training import workdir as workdirs


def train(batch_size: int, steps_per_epoch: int, epochs: int, workdir: str, eagerly: bool = False) -> tuple[MMV, dict]:
    """The trained model of the configuration that was parsed, and the history of `fit`.

    Args:
      eagerly: run the steps line by line, as a debugger wants it.
    """
    keras.utils.set_random_seed(0)
    pipeline, model = InputPipeline(), MMV()
    workdirs.check_fit(model, pipeline)
    rate = keras.optimizers.schedules.CosineDecay(0.0, epochs * steps_per_epoch, warmup_target=0.002, warmup_steps=10)
    model.compile(optimizer=keras.optimizers.Adam(rate), jit_compile=False, run_eagerly=eagerly)
    model.build_by_call(pipeline.zeros(batch_size=1))
    os.makedirs(workdir, exist_ok=True)
    history = model.fit(
        pipeline.training_dataset(batch_size),  # endless: the steps of an epoch are yours to choose
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        callbacks=[
            keras.callbacks.CSVLogger(os.path.join(workdir, "fit.csv")),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.EarlyStopping(monitor="total_loss", mode="min", patience=3, restore_best_weights=True),
        ],
        verbose=2,
    ).history
    workdirs.describe(workdir, pipeline, config.operative())
    step = tf.Variable(len(history["total_loss"]) * steps_per_epoch, dtype=tf.int64)
    folder = os.path.join(workdir, workdirs.CHECKPOINTS)
    tf.train.CheckpointManager(workdirs.make_checkpoint(model, step), folder, max_to_keep=1).save(int(step))
    return model, history


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    config.add_arguments(parser)
    parser.add_argument("--workdir", required=True, help="folder to write; must not exist")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps_per_epoch", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--eagerly", action="store_true", help="line by line, for a debugger")
    args = parser.parse_args(argv)
    if os.path.exists(args.workdir):
        raise ValueError(f"--workdir {args.workdir}: is there already; `mmv_tf train` is what goes on with a run")
    config.parse(args.gin_file, args.gin_param)
    _, history = train(args.batch_size, args.steps_per_epoch, args.epochs, args.workdir, args.eagerly)
    losses = ", ".join(f"{loss:.2f}" for loss in history["total_loss"])
    print(f"losses of the epochs: {losses}\nworkdir: {args.workdir}; mmv_tf export --workdir {args.workdir} takes it")


if __name__ == "__main__":
    raise SystemExit(command.run(main))
