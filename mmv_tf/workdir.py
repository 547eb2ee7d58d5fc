"""A workdir: what one training run leaves behind, and how to get a model back from it.

config.gin                  the operative configuration; nothing else is needed to build the model again
vocabulary.txt              the words of the text network, if there is one
checkpoints/ckpt-N.*        model, optimiser and step, and the configuration beside each as ckpt-N.gin
events.out.tfevents...      TensorBoard scalars
summary.json                what training ended with
"""

import dataclasses
import os

import gin
import tensorflow as tf

from mmv_tf import config
from mmv_tf.input_pipeline import InputPipeline
from mmv_tf.model import MMV

CONFIG = "config.gin"
VOCABULARY = "vocabulary.txt"
CHECKPOINTS = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A trained model with the input pipeline that feeds it, and the step that it was trained to."""

    model: MMV
    pipeline: InputPipeline
    step: int


def write_text(path: str, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = f"{path}.tmp"
    with tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def read_text(path: str) -> str:
    with tf.io.gfile.GFile(path, "r") as file:
        return file.read()


def parse_config(workdir: str, gin_params=()) -> None:
    """Parses the configuration that a run left in `workdir`.

    Raises:
      FileNotFoundError: there is none: names the folder, and says what makes one.
    """
    path = os.path.join(workdir, CONFIG)
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(
            f"{workdir} is not a workdir: it has no {CONFIG}. `python -m mmv_tf.train --workdir ...` makes one."
        )
    config.parse([], [read_text(path), *gin_params], finalize=False)
    vocabulary = os.path.join(workdir, VOCABULARY)
    if tf.io.gfile.exists(vocabulary):
        # The words travel with the run; the file that they were read from may be gone.
        with gin.unlock_config():
            gin.bind_parameter("Tokenizer.vocabulary", vocabulary)
            gin.bind_parameter("TextNetwork.vectors", "")  # the checkpoint holds them
    gin.finalize()


def load(workdir: str, gin_params=()) -> Loaded:
    """Builds the model of a workdir and restores its newest checkpoint.

    Raises:
      FileNotFoundError: no configuration or no complete checkpoint in it.
      ValueError: the checkpoint does not fit the configured model.
    """
    parse_config(workdir, gin_params)
    checkpoint_path = tf.train.latest_checkpoint(os.path.join(workdir, CHECKPOINTS))
    if checkpoint_path is None:
        raise FileNotFoundError(f"{workdir} holds no checkpoint yet: train first, or use train --mode=init.")
    model, pipeline = MMV(), InputPipeline()
    model.build_by_call(pipeline.zeros(batch_size=1))
    step = tf.Variable(0, dtype=tf.int64)
    status = tf.train.Checkpoint(model=model, step=step).restore(checkpoint_path)
    try:
        status.assert_existing_objects_matched().expect_partial()
    except AssertionError as error:
        raise ValueError(f"{checkpoint_path} does not fit the model that {CONFIG} describes: {error}") from error
    return Loaded(model, pipeline, int(step))
