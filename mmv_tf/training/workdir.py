"""A workdir: what one training run leaves behind, and how to get a model back from it.

config.gin                  the operative configuration; nothing else is needed to build the model again
vocabulary.txt              the words of the text network, if there is one
WEIGHTS_LICENSE.txt         licence of imported weights, if the run began with some
checkpoints/ckpt-N.*        model, optimiser and step
checkpoints/kept/ckpt-N.*   those that are kept for good (train.keep_every)
records.json                the shards that it is trained on, and an identity of what each holds
bad_records-HOST.json       records that were left out (InputPipeline.max_bad_records), if there are any
events.out.tfevents...      TensorBoard: scalars, example clips, the configuration
probes.json                 what each probe found, if there are some (Probe.every)
summary.json                what training ended with
"""

import dataclasses
import difflib
import functools
import os
import re

import gin
import tensorflow as tf

from mmv_tf.backbones import TextNetwork
from mmv_tf.common import bindings, config, files, identity, paths
from mmv_tf.inputs import contents
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.model.mmv import MMV
from mmv_tf.records import vocabulary as vocabularies
from mmv_tf.records import word_vectors
from mmv_tf.training import checkpoint_files, optimizer_state
from mmv_tf.training.checkpoint_files import restore
from mmv_tf.training.per_record import state

CONFIG = "config.gin"
VOCABULARY = "vocabulary.txt"
CHECKPOINTS = "checkpoints"
WEIGHTS_LICENSE = "WEIGHTS_LICENSE.txt"
SUMMARY = "summary.json"
RECORDS = "records.json"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A trained model with the input pipeline that feeds it, and the step that it was trained to."""

    model: MMV
    pipeline: InputPipeline
    step: int

    @functools.cached_property
    def identity(self) -> str:
        """`network_identity` of what was loaded."""
        return network_identity(self.model, self.pipeline)


def network_identity(model: MMV, pipeline: InputPipeline) -> str:
    """The identity of a built model with its pipeline: weights, and all settings that its outputs depend on.

    An image network has one of its own: it is trained apart.
    """
    graph = model.graph
    ways = {m: {s: list(map(str, graph.path(m, s))) for s in graph.spaces_of(m)} for m in graph.modalities}
    parts = (model.backbones, model.heads, ways, pipeline.audio, pipeline.text)
    if pipeline.video.normalises:
        parts += (pipeline.video.value_range, pipeline.video.mean, pipeline.video.deviation)
    return identity.of(*parts, identity.of_weights(model.named_variables()))


def write_config(workdir: str, text: str) -> list[str]:
    """Writes config.gin; the lines by which it differs from the one that was there, if there was one."""
    path = os.path.join(workdir, CONFIG)
    before = files.read_text(path) if tf.io.gfile.exists(path) else text
    files.write_text(path, text)
    lines = difflib.unified_diff(before.splitlines(), text.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def check_words(workdir: str, pipeline: InputPipeline) -> None:
    """Checks that the vocabulary is the one that a run began with: a word is a row of its weights.

    Raises:
      ValueError: it is not; names the first word that differs, and what to do.
    """
    path = os.path.join(workdir, VOCABULARY)
    if pipeline.text is None or not tf.io.gfile.exists(path):
        return
    before, now = vocabularies.read(path), pipeline.text.words
    if before == now:
        return
    number = next((n for n, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))
    theirs, ours = (repr(words[number]) if number < len(words) else "no word" for words in (before, now))
    raise ValueError(
        f"the vocabulary is not the one that {workdir} was trained with (word {number + 1} was {theirs} and is {ours}; "
        f"{len(before)} words and {len(now)}), and its word vectors lie in that order: go on with "
        f"--gin_param=\"VOCABULARY='{path}'\", or begin a new workdir with train.init_from = {workdir!r}, which finds "
        "the rows by their words"
    )


def check_records(workdir: str, now: list[contents.Contents]) -> None:
    """Checks that the training records are those that a run began with; one of an earlier version did not write them.

    The place of a run in its data is a number of clips: in other records that means other ones, of which some would
    come twice and others never.

    Raises:
      ValueError: they are others; names the source and shard with both contents, and what to do.
    """
    path = os.path.join(workdir, RECORDS)
    if not tf.io.gfile.exists(path):
        return
    try:
        before = contents.from_json(files.read_text(path))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a list of shards ({error}); delete it to take the records as they are") from None
    if change := contents.difference(before, now):
        raise ValueError(
            f"the training records are not those that {workdir} began with: {change}. Put them back (`mmv_tf inspect "
            f"verify` tells what is damaged), or begin a new workdir with train.init_from = {workdir!r}, or, to go on "
            f"with these in this workdir, delete {path}"
        )


def describe(workdir: str, pipeline: InputPipeline, configuration: str, init_from: str = "", records=None) -> None:
    """Writes what a run is, beside its checkpoints: vocabulary, configuration, records (list of Contents, or None), and
    the licence of the weights that it began with."""
    tf.io.gfile.makedirs(workdir)
    if records and not tf.io.gfile.exists(os.path.join(workdir, RECORDS)):  # `check_records` holds them to be the same
        files.write_text(os.path.join(workdir, RECORDS), contents.to_json(records))
    if not tf.io.gfile.exists(os.path.join(workdir, VOCABULARY)):  # `check_words` holds it to be the same
        pipeline.save_vocabulary(os.path.join(workdir, VOCABULARY))
    licence = os.path.join(_workdir_of(init_from), WEIGHTS_LICENSE) if init_from else ""
    if licence and tf.io.gfile.exists(licence):
        files.write_text(os.path.join(workdir, WEIGHTS_LICENSE), files.read_text(licence))
    if changes := write_config(workdir, configuration):
        print("the configuration differs from the one that this workdir began with:", *changes, sep="\n  ", flush=True)


def setting(configuration: str, name: str) -> str | None:
    """What a configuration's text binds a name such as 'train.batch_size' to, in one line; None if it does not."""
    found = re.search(rf"^{re.escape(name)} = \\?\n?((?:.+)(?:\n[ \]}})].*)*)", configuration, re.M)
    return " ".join(found[1].split()) if found else None


def earlier_setting(workdir: str, name: str) -> str | None:
    """`setting` of the configuration that lies in a workdir; None if there is none."""
    path = os.path.join(workdir, CONFIG)
    return setting(files.read_text(path), name) if tf.io.gfile.exists(path) else None


def parse_config(workdir: str, gin_params=(), gin_files=()) -> None:
    """Parses the configuration that a run left in `workdir`, then `gin_files`, then `gin_params`.

    Raises:
      FileNotFoundError: there is none: names the folder, and says what makes one.
      ValueError: as `config.parse`.
    """
    path = os.path.join(workdir, CONFIG)
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(
            f"{workdir} is not a workdir: it has no {CONFIG}. `python -m mmv_tf.train --workdir ...` makes one."
        )
    config.parse(gin_files, gin_params, finalize=False, foreign=[path])
    vocabulary = os.path.join(workdir, VOCABULARY)
    if tf.io.gfile.exists(vocabulary):
        # The words travel with the run; the file that they were read from may be gone.
        bindings.bind_everywhere("Tokenizer.vocabulary", vocabulary)
        for table in ("TextNetwork", "WordVectors"):
            bindings.bind_everywhere(f"{table}.vectors", "")  # the checkpoint holds them
    gin.finalize()


def check_fit(model: MMV, pipeline: InputPipeline) -> None:
    """Checks that the pipeline makes what the model takes.

    Raises:
      ValueError: names the setting: a modality or a view that is not read, a view that nothing uses, word ids beyond
        the word vectors, or word vectors that were made for other words.
    """
    missing = sorted(set(model.graph.modalities) - set(pipeline.modalities))
    if missing:
        raise ValueError(
            f"The graph uses {missing[0]!r}, and InputPipeline.modalities = {pipeline.modalities} lacks it."
        )
    read = {name: view.of for name, view in pipeline.views.items()}
    for name in dict.fromkeys([*model.graph.views, *read]):
        wanted, given = model.graph.views.get(name), read.get(name)
        if wanted != given:
            lacks = "Graph.views" if wanted is None else "InputPipeline.views"
            has = "InputPipeline.views" if wanted is None else "Graph.views"
            if wanted and given:
                raise ValueError(
                    f"{name!r} is a view of {wanted!r} in Graph.views, of {given!r} in InputPipeline.views."
                )
            raise ValueError(f"{has} has {name!r}, a view of {wanted or given!r}, and {lacks} lacks it.")
    vectors = getattr(model.backbones.get("text"), "vectors", "")
    if vectors and pipeline.text is not None:
        word_vectors.check_words(paths.home(vectors), pipeline.text.words)
    rows = getattr(model.backbones.get("text"), "vocabulary_size", None)
    if rows is not None and pipeline.text.num_ids > rows:
        raise ValueError(
            f"The vocabulary gives {pipeline.text.num_ids} word ids (padding included), and the text network has "
            f"{_table_of(model)}.vocabulary_size = {rows}: raise it, or use a smaller vocabulary."
        )


def load(workdir: str, gin_params=(), gin_files=()) -> Loaded:
    """Builds the model of a workdir and restores its newest checkpoint.

    Of a run whose optimiser makes moving averages of the weights (`use_ema`) the model gets those; a line says so.

    Raises:
      FileNotFoundError: no configuration or no complete checkpoint in it.
      ValueError: the checkpoint is not whole, or does not fit the configured model.
    """
    workdir = paths.plain(workdir, "--workdir")
    parse_config(workdir, gin_params, gin_files)
    checkpoint_path = checkpoint_files.newest(os.path.join(workdir, CHECKPOINTS))
    if checkpoint_path is None:
        raise FileNotFoundError(f"{workdir} holds no checkpoint yet: train first, or use train --mode=init.")
    model, pipeline = MMV(), InputPipeline()
    model.build_by_call(pipeline.zeros(batch_size=1))
    step = tf.Variable(0, dtype=tf.int64)
    restore(make_checkpoint(model, step), checkpoint_path)
    if averages := optimizer_state.take_averages(model, checkpoint_path):
        print(f"{workdir}: {averages} of its weights are moving averages (use_ema), not the last ones", flush=True)
    return Loaded(model, pipeline, int(step))


def make_checkpoint(model: MMV, step: tf.Variable, optimizer=None, clips=None) -> tf.train.Checkpoint:
    """What a checkpoint holds: the model's variables by their stable names, the step, the optimiser's state (see
    `optimizer_state`) with what is kept of each record, and the position in the data.

    The variables are listed, not found by TensorFlow: it does not look into the lists and dicts of a Keras 3 layer,
    and would leave the moving averages out without a word.
    """
    parts = {"model": {name: variable.value for name, variable in model.named_variables().items()}, "step": step}
    if optimizer is not None:
        parts["optimizer"] = optimizer_state.parts(optimizer, model)
        if model.per_record is not None:
            parts["per_record"] = model.per_record.named_variables()
    if clips is not None:
        parts["clips"] = clips
    return tf.train.Checkpoint(**parts)


def initialise(model: MMV, source: str, parts=(), words=()) -> list[str]:
    """Gives `model` the weights of another run.

    Args:
      model: built; what is not restored keeps its initial weights.
      source: a workdir (its newest checkpoint), or the path of a checkpoint; `~` is the home of a user.
      parts: which modalities' backbones and which heads ('video', 'va -> vat'); () is all of the model.
      words: the model's vocabulary. Where the source has another one, its word vectors are found by their words; a
        word that it does not have keeps its row. () takes the rows in their order.
    Returns:
      The names of the parts that were restored.
    Raises:
      ValueError: an unknown part, no checkpoint, or one that does not fit; names it.
    """
    source = paths.plain(source, "train.init_from =")
    known = [*model.backbones, *model.heads, *model.scorers]
    if unknown := sorted(set(parts) - set(known)):
        raise ValueError(f"train.init_parts has {unknown[0]!r}; the model's parts are {', '.join(map(repr, known))}.")
    path = checkpoint_files.newest(os.path.join(source, CHECKPOINTS)) or source
    if not tf.io.gfile.exists(f"{path}.index"):
        raise ValueError(f"train.init_from = {source!r} is neither a workdir with a checkpoint nor a checkpoint.")
    chosen = list(parts or known)
    variables = {n: v.value for n, v in model.named_variables().items() if n.partition("/")[0] in chosen}
    name = next((name for name in variables if name.startswith("text/") and name.endswith("embeddings")), "")
    table = variables.get(name)
    if table is not None and words:
        theirs = _words_beside(path)
        if theirs is not None and theirs != tuple(words):
            del variables[name]
            _take_rows(table, name, path, theirs, words, _table_of(model))
        elif theirs is None:
            print(f"{source} has no {VOCABULARY}: its word vectors are taken in their order", flush=True)
        if getattr(model.backbones["text"], "vectors", ""):
            print(f"where {source} has a word, its vector wins over that of {_table_of(model)}.vectors", flush=True)
    restore(tf.train.Checkpoint(model=variables), path)
    if model.per_record is not None and not parts:
        chosen += state.take(model.per_record, path, model.seed)
    return chosen


def _workdir_of(source: str) -> str:
    """The workdir that train.init_from means, or that the checkpoint which it means lies in."""
    folder = paths.plain(source, "train.init_from =")
    if not tf.io.gfile.isdir(folder):
        folder = os.path.dirname(folder)
        while os.path.basename(folder) in (CHECKPOINTS, "kept"):
            folder = os.path.dirname(folder)
    return folder


def _words_beside(checkpoint_path: str) -> tuple[str, ...] | None:
    """The vocabulary of the workdir that a checkpoint lies in; None if there is none."""
    path = os.path.join(_workdir_of(checkpoint_path), VOCABULARY)
    return vocabularies.read(path) if tf.io.gfile.exists(path) else None


def _table_of(model: MMV) -> str:
    """The class whose settings are those of the word vectors."""
    text = model.backbones["text"]
    return "TextNetwork" if isinstance(text, TextNetwork) else "WordVectors"


def _take_rows(table, name: str, path: str, theirs, ours, owner: str) -> None:
    """Assigns the rows of a checkpoint's word vectors to the same words; says how many there were."""
    key = f"model/{checkpoint_files.key_of(name)}{checkpoint_files.VALUE}"
    stored, rows = tf.train.load_checkpoint(path).get_tensor(key), table.numpy()
    if stored.shape[1] != rows.shape[1]:
        raise ValueError(f"{path} has word vectors of {stored.shape[1]} numbers, and {owner}.dim = {rows.shape[1]}")
    numbers: dict[str, int] = {}
    for number, word in enumerate(theirs, start=1):
        numbers.setdefault(word.lower(), number)
    rows[0], found = stored[0], 0
    for number, word in enumerate(ours, start=1):
        if word.lower() in numbers:
            rows[number], found = stored[numbers[word.lower()]], found + 1
    table.assign(rows)
    print(f"the vocabularies differ: {found} of {len(ours)} words have a row in {path}, the others keep theirs")


def holds_optimizer(path: str) -> bool:
    """Whether a checkpoint can continue a run; one with weights alone (an import) can only begin one."""
    return any(name.startswith("optimizer/") for name, _ in tf.train.list_variables(path))
