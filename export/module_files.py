"""The files of an exported module, read without loading it: signatures, checksums, configuration."""

import dataclasses
import hashlib
import json
import os

EXTRA = "assets.extra"  # ours and TensorFlow Serving's files in a SavedModel; no loader looks there
CONFIG = f"{EXTRA}/config.gin"
NETWORK = f"{EXTRA}/network.json"  # which network it is: its identity, and the step it was trained to
# What saved_model.save of the standard library of TensorFlow adds to every module; nobody calls it by name.
_INIT_SIGNATURE = "__saved_model_init_op"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One input or output of a signature: its TensorFlow dtype by name, and its shape, None where any size will do."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self):
        return f"{self.dtype} [{', '.join('any' if size is None else str(size) for size in self.shape)}]"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One signature: the argument's name and kind, and {key: kind} of what it returns."""

    argument: str
    input: Tensor
    outputs: dict[str, Tensor]

    @property
    def spaces(self) -> dict[str, int | None]:
        """{key: dimension} of the outputs that are one vector an input: before_head and the spaces."""
        return {key: tensor.shape[1] for key, tensor in self.outputs.items() if len(tensor.shape) == 2}


def signatures(folder: str) -> dict[str, Signature]:
    """The signatures of a SavedModel, read from its saved_model.pb.

    Raises:
      ValueError: no SavedModel there, or a signature with several inputs; names the folder.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    path = os.path.join(folder, "saved_model.pb")
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{folder} is no exported module: it has no saved_model.pb (see mmv_tf.export.saved_model)")
    with tf.io.gfile.GFile(path, "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    found = {}
    for name, definition in sorted(saved.meta_graphs[0].signature_def.items()):
        if name == _INIT_SIGNATURE:
            continue
        if len(definition.inputs) != 1:
            raise ValueError(f"{folder}: signature {name!r} has {len(definition.inputs)} inputs; a module's has one")
        ((argument, info),) = definition.inputs.items()
        outputs = {key: _tensor(output) for key, output in sorted(definition.outputs.items())}
        found[name] = Signature(argument, _tensor(info), outputs)
    return found


def _tensor(info) -> Tensor:
    import tensorflow as tf

    sizes = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return Tensor(tf.dtypes.as_dtype(info.dtype).name, sizes)


def checksums(folder: str) -> dict[str, str]:
    """{file: sha256} of saved_model.pb and the files of the variables: all that the outputs depend on."""
    import tensorflow as tf

    variables = os.path.join(folder, "variables")
    names = sorted(tf.io.gfile.listdir(variables)) if tf.io.gfile.isdir(variables) else []
    return {
        name: _sha256(os.path.join(folder, name)) for name in ["saved_model.pb", *(f"variables/{n}" for n in names)]
    }


def checksum(folder: str) -> str:
    """One sha256 for the whole module: that of the lines 'sha256  file' that sha256sum prints of `checksums`."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in checksums(folder).items())
    return hashlib.sha256(lines.encode()).hexdigest()


def write_network(folder: str, loaded) -> None:
    """Writes which network a module holds: see `check_network`."""
    from mmv_tf.common import files

    network = {"identity": loaded.identity, "step": loaded.step}
    files.write_text(os.path.join(folder, *NETWORK.split("/")), json.dumps(network) + "\n")


def check_network(folder: str, loaded, workdir: str) -> None:
    """Checks that a module holds the weights that `loaded` has from a workdir. A module that does not tell passes.

    Raises:
      ValueError: it holds others; says of which steps both are.
    """
    import tensorflow as tf

    from mmv_tf.common import files

    path = os.path.join(folder, *NETWORK.split("/"))
    if not tf.io.gfile.exists(path):
        return
    network = json.loads(files.read_text(path))
    if network["identity"] != loaded.identity:
        raise ValueError(
            f"{folder} holds other weights or settings (step {network['step']}) than {workdir} has now (step "
            f"{loaded.step}): its card would be wrong; export again"
        )


def _sha256(path: str) -> str:
    import tensorflow as tf

    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def parse_config(folder: str) -> None:
    """Parses the configuration that lies in a module, so that `VideoInput()` and `LogMel()` are those it was made with.

    Raises:
      ValueError: the module has none.
    """
    import tensorflow as tf

    from mmv_tf.common import config

    path = os.path.join(folder, *CONFIG.split("/"))
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{folder}: no {CONFIG}, which says what size and rate of clip the module was trained on")
    config.parse([path])
