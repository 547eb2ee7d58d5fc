"""The import of published PyTorch weights: torchvision's and XDC's video networks, GDT, MIL-NCE's S3D.

    python -m mmv_tf.released.from_torch --checkpoint r2plus1d_18.pth --output DIR [--vocabulary FILE]

DIR becomes a workdir, from which evaluation and export go on as after training, and whose weights a training run can
start with. Nothing in the file is executed (see `torch_file`). What network it is, is told from its tensors.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmv_tf.common import command, lock
from mmv_tf.common.values import listed
from mmv_tf.released import importing
from mmv_tf.released.pickle_machine import CheckpointError

LICENSE = """\
These weights have the form of those of
  {system}
which were published under the
  {licence}.
Whose they are the file does not say: if they come from elsewhere, the terms of whoever published them hold.
They were changed in form, not in value, from the file
  {name}, sha256 {sha256}
"""

CONFIG = """\
# {{name}}, imported by mmv_tf.released.{by}; for its licence see {{license}}.
{{model}}
{losses}
InputPipeline.modalities = {{modalities}}
{inputs}"""
COUNTER = "num_batches_tracked"  # PyTorch's name of what counts the steps of a batch norm
_STEPS_UNKNOWN = 1000.0  # where a file does not count its steps: averages that have forgotten where they began


@dataclasses.dataclass(frozen=True)
class Imported:
    """A converted checkpoint.

    Attributes:
      model: the `MMV` with the weights of the file.
      found: what kind of network it is.
      mapped: number of tensors whose values are in the model now.
      untrained: names of tensors that have no place here, as expected (a classifier).
      unused: names of other tensors that have no place in the model.
    """

    model: Any
    found: Any
    mapped: int
    untrained: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def layout(self):
        return self.found.layout

    def report(self) -> str:
        """What became of the tensors, in a few lines."""
        networks = str(self.layout).partition("; graph")[0]
        lines = [f"{self.found.system.name}", networks, f"{self.mapped} tensors mapped, none missing"]
        if self.untrained:
            lines.append(f"unused, as expected: {', '.join(self.untrained)}")
        if self.found.identity:
            lines.append("The file has no heads: the space 'v' is the representation as it is.")
        if self.unused:
            lines.append(f"WARNING: unused, and not expected: {listed(map(importing.printable, self.unused), most=8)}")
        return "\n".join(lines)


def load(path: str):
    """Reads a published checkpoint.

    Args:
      path: a local .pth, .pt or .safetensors file.

    Returns:
      `model.mmv.MMV` with the backbones and heads of the file, its weights and moving averages.

    Raises:
      CheckpointError: no such file, not a known network, or a damaged one; one line naming file and reason.
    """
    return convert_file(path).model


def convert_file(path: str) -> Imported:
    """`load` with a report of what became of each tensor.

    Raises:
      CheckpointError: as `load`.
    """
    from mmv_tf.released import torch_file

    tensors = torch_file.read(path)
    try:
        return convert(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None


def convert(tensors: Mapping[str, np.ndarray], detect: Callable | None = None) -> Imported:
    """Builds the model of a state dict and gives it the values.

    Args:
      detect: makes a `torch_layout.Found` of the shapes; by default `torch_layout.detect`.

    Raises:
      CheckpointError: a tensor is missing, has another shape or type, or bad values; names it.
    """
    from mmv_tf.released import torch_layout

    detect = detect or torch_layout.detect
    # Nothing is built, and nothing assigned, for a file with something wrong in it that can be seen before.
    for name, tensor in tensors.items():
        check_values(name, tensor)
    found = detect({name: tensor.shape for name, tensor in tensors.items()})
    model = found.layout.build()
    entries = list(found.entries(model))
    needed = [entry for entry in entries if entry.name in tensors or not entry.optional]
    missing = [entry.name for entry in needed if entry.name not in tensors]
    if missing:
        raise CheckpointError(f"{len(missing)} tensors are missing: {listed(missing, most=8)}")
    for entry in needed:
        shape = tensors[entry.name].shape
        if shape != entry.shape:
            raise CheckpointError(f"{entry.name}: shape {list(shape)}, but {list(entry.shape)} belongs there")
    for entry in entries:
        if entry in needed:
            entry.variable.assign(entry.ours(tensors[entry.name].astype(np.float32)))
        elif entry.name.endswith(COUNTER):
            entry.variable.assign(_STEPS_UNKNOWN)
    for name in found.identity:
        head = model.heads[name].projection
        head.kernel.assign(np.eye(*head.kernel.shape, dtype=np.float32))
    rest = sorted(set(tensors) - {entry.name for entry in entries})
    untrained = tuple(name for name in rest if re.fullmatch(found.unused, name))
    return Imported(model, found, len(needed), untrained, tuple(name for name in rest if name not in untrained))


def check_values(name: str, tensor: np.ndarray) -> None:
    """Checks the type and the values of one tensor.

    Raises:
      CheckpointError: names the tensor and what is wrong.
    """
    leaf, name = re.split(r"[./]", name)[-1], importing.printable(name)
    if tensor.dtype.kind not in ("iu" if leaf == COUNTER else "f"):
        raise CheckpointError(f"{name}: {tensor.dtype} is no type for it")
    with np.errstate(over="ignore"):
        finite = np.isfinite(tensor.astype(np.float32, copy=False)).all()
    if not finite:
        raise CheckpointError(f"{name}: holds NaN, infinite or too large values")
    if leaf in (COUNTER, "running_var", "moving_variance") and (tensor < 0).any():
        raise CheckpointError(f"{name}: holds negative values, which it cannot")


def save(
    imported: Imported, output: str, checkpoint: str, vocabulary: str | None = None, by: str = "from_torch"
) -> None:
    """Writes a workdir, as `from_deepmind.save` does; the configuration comes last, and makes it one."""
    from mmv_tf.released import from_deepmind

    system = imported.found.system
    license_text = LICENSE.replace("{system}", system.name).replace("{licence}", system.licence)
    config = CONFIG.format(by=by, losses=imported.found.losses, inputs=system.inputs)
    from_deepmind.save(imported, output, checkpoint, vocabulary, license_text, config)


_THEN = """mmv_tf export --workdir OUTPUT --output exported/published
  mmv_tf evaluate --workdir OUTPUT --gin_file=gin/evals/ucf101.gin"""


def main(argv=None):
    """Turns published PyTorch weights of a video network into a workdir of mmv_tf."""
    parser = command.parser("from-torch", main.__doc__, _THEN)
    importing.add_arguments(parser, "a file of torch.save (.pth, .pt), or of safetensors")
    args = parser.parse_args(argv)
    with lock.folder(args.output, "from-torch"):
        imported = convert_file(args.checkpoint)
        save(imported, args.output, args.checkpoint, args.vocabulary)
    importing.show(imported, args)


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
