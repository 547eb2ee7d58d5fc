"""The import of VATT's released TensorFlow checkpoints: pretrained (BBS, MBS, LBS, modality-agnostic) and fine-tuned.

    python -m mmv_tf.released.from_vatt --checkpoint ckpt-500000 --output DIR [--vocabulary FILE]

DIR becomes a workdir, from which evaluation and export go on as after training, and whose weights a training run can
start with. What network it is, is told from its arrays. The state of the optimiser in the files is not read.
"""

import functools
import glob
import math
import os
import re

import numpy as np

from mmv_tf.common import command, lock
from mmv_tf.released import from_torch, importing
from mmv_tf.released.pickle_machine import CheckpointError

_NAME = re.compile(r"model/layer_with_weights-0/(.*)/\.ATTRIBUTES/VARIABLE_VALUE")


def load(path: str, head_dim: int | None = None):
    """Reads a released checkpoint.

    Args:
      path: a local checkpoint: what the names of its files (.index, .data-00000-of-00001) have in common, or one of
        them.
      head_dim: numbers of a head of attention; 64 in all released networks. It leaves no array in the file, and so
        cannot be told from it.

    Returns:
      `model.mmv.MMV` with the backbones and heads of the file, its weights and moving averages.

    Raises:
      CheckpointError: no such file, not a network of VATT's, or a damaged one; one line naming file and reason.
    """
    return convert_file(path, head_dim).model


def convert_file(path: str, head_dim: int | None = None) -> from_torch.Imported:
    """`load` with a report of what became of each array.

    Raises:
      CheckpointError: as `load`.
    """
    from mmv_tf.released import vatt_layout

    prefix = prefix_of(path)
    detect = functools.partial(vatt_layout.detect, head_dim=head_dim or vatt_layout.HEAD_DIM)
    try:
        return from_torch.convert(read(prefix), detect)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {prefix}: {error}") from None


def prefix_of(path: str) -> str:
    """What the names of the files of a checkpoint have in common, of that or of one of them."""
    return re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path)


def read(prefix: str) -> dict[str, np.ndarray]:
    """{name in the model, as in `vatt_names`: array}.

    Raises:
      CheckpointError: files are missing or damaged, or hold no such arrays; the reason.
    """
    import tensorflow as tf

    files = glob.glob(f"{glob.escape(prefix)}.data-?????-of-?????")
    if not os.path.isfile(f"{prefix}.index"):
        raise CheckpointError(f"there is no {os.path.basename(prefix)}.index; a checkpoint has it beside .data files")
    if not files:
        raise CheckpointError(f"there is no {os.path.basename(prefix)}.data-00000-of-00001 beside its .index")
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        wanted = {
            match[1]: name for name in shapes if (match := _NAME.fullmatch(name)) and "/.OPTIMIZER_SLOT/" not in name
        }
        # A small file may speak of arrays larger than the memory.
        size = sum(math.prod(shapes[name]) * types[name].size for name in wanted.values())
        if size > (there := sum(os.path.getsize(file) for file in files)):
            raise CheckpointError(f"its index speaks of {size} bytes, and its data has {there}")
        return {name: np.asarray(reader.get_tensor(full)) for name, full in wanted.items()}
    except CheckpointError:
        raise
    # What the reader raises for damage of one kind and another.
    except (tf.errors.OpError, RuntimeError, ValueError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"it cannot be read: {reason}") from None


_THEN = """mmv_tf export --workdir OUTPUT --output exported/vatt
  mmv_tf evaluate --workdir OUTPUT --gin_file=gin/evals/esc50.gin --gin_param="LinearAudio.output = 'before_head'\""""


def main(argv=None):
    """Turns a released checkpoint of VATT into a workdir of mmv_tf."""
    parser = command.parser("from-vatt", main.__doc__, _THEN)
    importing.add_arguments(parser, "such as ckpt-500000, beside which .index and .data lie")
    args = parser.parse_args(argv)
    with lock.folder(args.output, "from-vatt"):
        imported = convert_file(args.checkpoint)
        # The index holds a checksum of each array: it stands for them all.
        index = f"{prefix_of(args.checkpoint)}.index"
        from_torch.save(imported, args.output, index, args.vocabulary, by="from_vatt")
    importing.show(imported, args)


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
