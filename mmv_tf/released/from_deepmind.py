"""The import of the released MMV checkpoints (deepmind-research/mmv): mmv_s3d.pkl, mmv_tsm_resnet_x1.pkl, ..._x2.pkl.

    python -m mmv_tf.released.from_deepmind --checkpoint mmv_s3d.pkl --output DIR [--vocabulary FILE]

DIR becomes a workdir, from which evaluation and export go on as after training, and whose weights a training run can
start with. Nothing in the file is executed (see `unpickle`). What network it is, is told from its arrays.
"""

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from mmv_tf.common import command, lock
from mmv_tf.common.values import listed
from mmv_tf.released import importing
from mmv_tf.released.pickle_machine import CheckpointError

LICENSE = """\
These weights were made by DeepMind and published with
  Alayrac et al., "Self-Supervised MultiModal Versatile Networks", NeurIPS 2020
  (github.com/google-deepmind/deepmind-research, folder mmv)
under the Creative Commons Attribution-NonCommercial 4.0 International licence (CC BY-NC 4.0),
  https://creativecommons.org/licenses/by-nc/4.0/legalcode
You may share and adapt them, also what is trained or exported from them, for non-commercial purposes only, and must
name their source. They were changed in form, not in value, from the file
  {name}, sha256 {sha256}
The licence of the program that converted them (Apache-2.0) does not extend to them.
"""

CONFIG = """\
# {name}, imported by mmv_tf.released.from_deepmind. The weights are CC BY-NC 4.0: see {license}.
{model}
# What the network saw in training (paper, section 4.1): 32 frames at 10 frames/s, 200 x 200 pixels, their sound.
InputPipeline.modalities = {modalities}
VideoInput.num_frames = 32
VideoInput.frame_rate = 10.0
VideoInput.crop_size = 200
"""


@dataclasses.dataclass(frozen=True)
class Imported:
    """A converted checkpoint.

    Attributes:
      model: the `MMV` with the weights of the file.
      layout: what kind of network it is.
      mapped: number of arrays whose values are in the model now.
      implied: names of arrays that say nothing more than the mapped ones (undebiased averages, second counters).
      untrained: names of arrays of heads that no trained pair uses; expected.
      unused: names of other arrays that have no place in the model.
    """

    model: Any
    layout: Any
    mapped: int
    implied: tuple[str, ...]
    untrained: tuple[str, ...]
    unused: tuple[str, ...]

    def report(self) -> str:
        """What became of the arrays, in a few lines."""
        lines = [
            str(self.layout),
            f"{self.mapped} arrays mapped, none missing; {len(self.implied)} more say the same again "
            "(undebiased averages, second counters)",
        ]
        if self.untrained:
            lines.append("unused, as expected (heads that the released networks do not use either):")
            lines += [f"  {name}" for name in self.untrained]
        if self.unused:
            lines.append("WARNING: unused, and not expected:")
            lines += [f"  {importing.printable(name)}" for name in self.unused]
        return "\n".join(lines)


def load(path: str, activation: str | None = "relu"):
    """Reads a released checkpoint.

    Args:
      path: a local .pkl file.
      activation: what stands between the fine and the coarse space of a FAC graph, as in `graph.Head`; 'relu' in all
        released networks. It leaves no array in the file, and so cannot be told from it ('bnrelu' does, and can).

    Returns:
      `model.mmv.MMV` with all three backbones and the graph of the file, its weights and moving averages. Its word
      ids are the rows of the file's matrix of word vectors; which word has which id, the file does not say.

    Raises:
      CheckpointError: no such file, not a released checkpoint, or a damaged one; one line naming file and reason.
    """
    return convert_file(path, activation).model


def convert_file(path: str, activation: str | None = "relu") -> Imported:
    """`load` with a report of what became of each array.

    Raises:
      CheckpointError: as `load`.
    """
    from mmv_tf.released import unpickle

    tree = unpickle.read(path)
    try:
        return convert(tree, activation)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None


def convert(tree, activation: str | None = "relu") -> Imported:
    """Builds the model of {'params': {module: {leaf: array}}, 'state': ...} and gives it the values.

    Raises:
      CheckpointError: an array is missing, has another shape or type, or bad values; names it.
    """
    from mmv_tf.released import layout as layouts
    from mmv_tf.released import name_map

    arrays = {
        f"{m}/{leaf}": value for part in tree.values() for m, leaves in part.items() for leaf, value in leaves.items()
    }
    # Nothing is built, and nothing assigned, for a file with something wrong in it that can be seen before.
    for name, array in arrays.items():
        check_values(name, array)
    layout = layouts.detect(arrays, activation)
    try:
        model = layout.build()
    except ValueError as error:
        raise CheckpointError(f"no network of this library has these arrays: {error}") from error
    entries = list(name_map.model(model, layout.modules))
    needed = [entry for entry in entries if entry.variable is not None]
    missing = [entry.name for entry in needed if entry.name not in arrays]
    if missing:
        raise CheckpointError(f"{len(missing)} arrays are missing: {listed(missing, most=8)}")
    for entry in needed:
        shape = arrays[entry.name].shape
        if shape != entry.shape:
            raise CheckpointError(f"{entry.name}: shape {list(shape)}, but {layout} has {list(entry.shape)}")
    for entry in needed:
        entry.variable.assign(arrays[entry.name].astype(np.float32).reshape(entry.variable.shape))
    names = {entry.name for entry in entries}
    rest = sorted(set(arrays) - names)
    untrained = [
        name for name in rest if name.startswith(tuple(f"{name_map.HEADS}/{h}/" for h in name_map.UNTRAINED_HEADS))
    ]
    return Imported(
        model=model,
        layout=layout,
        mapped=len(needed),
        implied=tuple(e.name for e in entries if e.variable is None and e.name in arrays),
        untrained=tuple(untrained),
        unused=tuple(name for name in rest if name not in untrained),
    )


def check_values(name: str, array: np.ndarray) -> None:
    """Checks the type and the values of one array.

    Raises:
      CheckpointError: names the array and what is wrong.
    """
    leaf, shown = name.rsplit("/", 1)[1], importing.printable(name)
    if array.dtype.kind not in ("iu" if leaf == "counter" else "f"):
        raise CheckpointError(f"{shown}: {array.dtype} is no type for it")
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32, copy=False)).all()
    if not finite:
        raise CheckpointError(f"{shown}: holds NaN, infinite or too large values")
    if (leaf == "counter" or "/var_ema/" in name) and array.min() < 0:
        raise CheckpointError(f"{shown}: holds negative values, which it cannot")


def save(
    imported: Imported,
    output: str,
    checkpoint: str,
    vocabulary: str | None = None,
    license_text: str = LICENSE,
    config: str = CONFIG,
) -> None:
    """Writes a workdir.

    Args:
      imported: from `convert_file`.
      output: folder to make; must not be a workdir already.
      checkpoint: the file that it came from; its name and sha256 go into the licence note.
      vocabulary: file of one word a line, word i being row i + 1 of the matrix of word vectors. Without one the
        configuration leaves text out, though the checkpoint has its weights.
      license_text: the note, with places for `name` and `sha256` of the file.
      config: the configuration, with places for `name`, `license`, `model` and `modalities`.

    Raises:
      FileExistsError: `output` is a workdir.
      ValueError: the vocabulary cannot be read or does not fit the word vectors.
    """
    import tensorflow as tf

    from mmv_tf.common import files
    from mmv_tf.training import workdir as workdirs

    words = None if vocabulary is None else read_vocabulary(vocabulary, imported.layout)
    if tf.io.gfile.exists(os.path.join(output, workdirs.CONFIG)):
        raise FileExistsError(f"{output} is a workdir already: choose another --output.")
    folder = os.path.join(output, workdirs.CHECKPOINTS)
    tf.io.gfile.makedirs(folder)
    layout = imported.layout.without_text() if words is None else imported.layout
    name = importing.printable(os.path.basename(checkpoint))  # a line break would end the comment in the configuration
    license_note = license_text.format(name=name, sha256=_sha256(checkpoint))
    files.write_text(os.path.join(output, workdirs.WEIGHTS_LICENSE), license_note)
    if words is not None:
        from mmv_tf.records import vocabulary as vocabularies

        vocabularies.write(words, os.path.join(output, workdirs.VOCABULARY))
    step = tf.Variable(0, dtype=tf.int64)
    manager = tf.train.CheckpointManager(workdirs.make_checkpoint(imported.model, step), folder, max_to_keep=None)
    manager.save(checkpoint_number=0)
    # The configuration last: with it, the folder is a workdir.
    config = config.format(
        name=name, license=workdirs.WEIGHTS_LICENSE, model=layout.gin(), modalities=tuple(layout.backbones)
    )
    files.write_text(os.path.join(output, workdirs.CONFIG), config)


def read_vocabulary(path: str, layout) -> tuple[str, ...]:
    """The words of a file, if they fit the word vectors of a layout.

    Raises:
      ValueError: the file cannot be read, or has more words than there are rows; names it.
    """
    from mmv_tf.records import vocabulary as vocabularies

    words = vocabularies.read(path)
    if "text" not in layout.backbones:
        raise ValueError(f"vocabulary {path}: the checkpoint has no word vectors that it could be for.")
    rows = layout.rows
    if len(words) > rows - 1:
        raise ValueError(
            f"vocabulary {path}: {len(words)} words, but the checkpoint has word vectors for {rows - 1} "
            f"({rows} rows, of which row 0 is padding)."
        )
    return words


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_THEN = """mmv_tf export --workdir OUTPUT --output exported/released
  mmv_tf evaluate --workdir OUTPUT --gin_file=gin/evals/esc50.gin"""


def main(argv=None):
    """Turns a released MMV checkpoint into a workdir of mmv_tf."""
    parser = command.parser("from-deepmind", main.__doc__, _THEN)
    importing.add_arguments(parser, "a released .pkl file")
    args = parser.parse_args(argv)
    with lock.folder(args.output, "from-deepmind"):
        imported = convert_file(args.checkpoint)
        save(imported, args.output, args.checkpoint, args.vocabulary)
    importing.show(imported, args)


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
