"""A workdir: what one training run leaves behind, and how to get a model back from it.

config.gin                  the operative configuration; nothing else is needed to build the model again
vocabulary.txt              the words of the text network, if there is one
WEIGHTS_LICENSE.txt         licence of imported weights, if the run began with some
checkpoints/ckpt-N.*        model, optimiser and step
checkpoints/kept/ckpt-N.*   those that are kept for good (train.keep_every)
events.out.tfevents...      TensorBoard: scalars, example clips, the configuration
summary.json                what training ended with
"""

import dataclasses
import difflib
import os

import gin
import tensorflow as tf

from mmv_tf.common import config, files
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.model.mmv import MMV

CONFIG = "config.gin"
VOCABULARY = "vocabulary.txt"
CHECKPOINTS = "checkpoints"
WEIGHTS_LICENSE = "WEIGHTS_LICENSE.txt"
SUMMARY = "summary.json"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A trained model with the input pipeline that feeds it, and the step that it was trained to."""

    model: MMV
    pipeline: InputPipeline
    step: int


def write_config(workdir: str, text: str) -> list[str]:
    """Writes config.gin; the lines by which it differs from the one that was there, if there was one."""
    path = os.path.join(workdir, CONFIG)
    before = files.read_text(path) if tf.io.gfile.exists(path) else text
    files.write_text(path, text)
    lines = difflib.unified_diff(before.splitlines(), text.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def describe(workdir: str, pipeline: InputPipeline, configuration: str, init_from: str = "") -> None:
    """Writes what a run is, beside its checkpoints: vocabulary, configuration, licence of the weights it began with."""
    tf.io.gfile.makedirs(workdir)
    pipeline.save_vocabulary(os.path.join(workdir, VOCABULARY))
    licence = os.path.join(init_from, WEIGHTS_LICENSE)
    if init_from and tf.io.gfile.exists(licence):
        files.write_text(os.path.join(workdir, WEIGHTS_LICENSE), files.read_text(licence))
    if changes := write_config(workdir, configuration):
        print("the configuration differs from the one that this workdir began with:", *changes, sep="\n  ", flush=True)


def parse_config(workdir: str, gin_params=(), gin_files=()) -> None:
    """Parses the configuration that a run left in `workdir`, then `gin_files`, then `gin_params`.

    Raises:
      FileNotFoundError: there is none: names the folder, and says what makes one.
    """
    path = os.path.join(workdir, CONFIG)
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(
            f"{workdir} is not a workdir: it has no {CONFIG}. `python -m mmv_tf.train --workdir ...` makes one."
        )
    config.parse([path, *gin_files], gin_params, finalize=False)
    vocabulary = os.path.join(workdir, VOCABULARY)
    if tf.io.gfile.exists(vocabulary):
        # The words travel with the run; the file that they were read from may be gone.
        gin.bind_parameter("Tokenizer.vocabulary", vocabulary)
        gin.bind_parameter("TextNetwork.vectors", "")  # the checkpoint holds them
    gin.finalize()


def check_fit(model: MMV, pipeline: InputPipeline) -> None:
    """Checks that the pipeline makes what the model takes.

    Raises:
      ValueError: names the setting: a modality that is not read, or word ids beyond the word vectors.
    """
    missing = sorted(set(model.graph.modalities) - set(pipeline.modalities))
    if missing:
        raise ValueError(
            f"The graph uses {missing[0]!r}, and InputPipeline.modalities = {pipeline.modalities} lacks it."
        )
    rows = getattr(model.backbones.get("text"), "vocabulary_size", None)
    if rows is not None and pipeline.text.num_ids > rows:
        raise ValueError(
            f"The vocabulary gives {pipeline.text.num_ids} word ids (padding included), and the text network has "
            f"TextNetwork.vocabulary_size = {rows}: raise it, or use a smaller vocabulary."
        )


def load(workdir: str, gin_params=(), gin_files=()) -> Loaded:
    """Builds the model of a workdir and restores its newest checkpoint.

    Raises:
      FileNotFoundError: no configuration or no complete checkpoint in it.
      ValueError: the checkpoint does not fit the configured model.
    """
    parse_config(workdir, gin_params, gin_files)
    checkpoint_path = tf.train.latest_checkpoint(os.path.join(workdir, CHECKPOINTS))
    if checkpoint_path is None:
        raise FileNotFoundError(f"{workdir} holds no checkpoint yet: train first, or use train --mode=init.")
    model, pipeline = MMV(), InputPipeline()
    model.build_by_call(pipeline.zeros(batch_size=1))
    step = tf.Variable(0, dtype=tf.int64)
    restore(make_checkpoint(model, step), checkpoint_path)
    return Loaded(model, pipeline, int(step))


def make_checkpoint(model: MMV, step: tf.Variable, optimizer=None) -> tf.train.Checkpoint:
    """What a checkpoint holds: the model's variables by their stable names, the step, and the optimiser's variables.

    The variables are listed, not found by TensorFlow: it does not look into the lists and dicts of a Keras 3 layer,
    and would leave the moving averages out without a word.
    """
    parts = {"model": {name: variable.value for name, variable in model.named_variables().items()}, "step": step}
    if optimizer is not None:
        # By position: the order of the trainable variables, each with its slots.
        parts["optimizer"] = {f"{i:05d}": variable.value for i, variable in enumerate(optimizer.variables)}
    return tf.train.Checkpoint(**parts)


def initialise(model: MMV, source: str, parts=()) -> list[str]:
    """Gives `model` the weights of another run.

    Args:
      model: built; what is not restored keeps its initial weights.
      source: a workdir (its newest checkpoint), or the path of a checkpoint.
      parts: which modalities' backbones and which heads ('video', 'va -> vat'); () is all of the model.
    Returns:
      The names of the parts that were restored.
    Raises:
      ValueError: an unknown part, no checkpoint, or one that does not fit; names it.
    """
    known = [*model.backbones, *model.heads]
    if unknown := sorted(set(parts) - set(known)):
        raise ValueError(f"train.init_parts has {unknown[0]!r}; the model's parts are {', '.join(map(repr, known))}.")
    path = tf.train.latest_checkpoint(os.path.join(source, CHECKPOINTS)) or source
    if not tf.io.gfile.exists(f"{path}.index"):
        raise ValueError(f"train.init_from = {source!r} is neither a workdir with a checkpoint nor a checkpoint.")
    chosen = list(parts or known)
    variables = {n: v.value for n, v in model.named_variables().items() if n.partition("/")[0] in chosen}
    restore(tf.train.Checkpoint(model=variables), path)
    return chosen


def holds_optimizer(path: str) -> bool:
    """Whether a checkpoint can continue a run; one with weights alone (an import) can only begin one."""
    return any(name.startswith("optimizer/") for name, _ in tf.train.list_variables(path))


def restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores all that `checkpoint` lists.

    Raises:
      ValueError: the file lacks something, or has another shape of it; names the file.
    """
    try:
        checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{path} does not fit the configured model: {error}") from error
