"""The files of an exported module, read without loading it: signatures, checksums, configuration."""

import dataclasses
import hashlib
import itertools
import json
import os

EXTRA = "assets.extra"  # ours and TensorFlow Serving's files in a SavedModel; no loader looks there
CONFIG = f"{EXTRA}/config.gin"
NETWORK = f"{EXTRA}/network.json"  # which network it is: its identity, its step, and which image network goes along
_IMAGES = ("naive", "trained")  # variants of the image network that a module can hold
# Operations that read or write files, or run Python, when a signature is called. What TensorFlow needs to restore the
# variables of any module (SaveV2, RestoreV2) and words from a file of its own is not among them.
_DANGEROUS = frozenset(
    """
    ReadFile WriteFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc PrintV2 WriteSummary CreateSummaryFileWriter
    WriteScalarSummary WriteImageSummary WriteRawProtoSummary ImportEvent SaveDataset SaveDatasetV2 LoadDataset
    DatasetToTFRecord DatasetToTFRecordV2 TextLineDataset TFRecordDataset TFRecordDatasetV2 FixedLengthRecordDataset
    FixedLengthRecordDatasetV2 MatchingFilesDataset SqlDataset WholeFileReader WholeFileReaderV2 TextLineReader
    TextLineReaderV2 TFRecordReader TFRecordReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2 Save SaveSlices
    LoadLibrary RpcCall RpcClient DebugIdentity DebugIdentityV2 DebugIdentityV3
    """.split()
)
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
    saved, found = _graph(folder), {}
    for name, definition in sorted(saved.meta_graphs[0].signature_def.items()):
        if name == _INIT_SIGNATURE:
            continue
        if len(definition.inputs) != 1:
            raise ValueError(f"{folder}: signature {name!r} has {len(definition.inputs)} inputs; a module's has one")
        ((argument, info),) = definition.inputs.items()
        outputs = {key: _tensor(output) for key, output in sorted(definition.outputs.items())}
        found[name] = Signature(argument, _tensor(info), outputs)
    return found


def _graph(folder: str):
    """The SavedModel message of a folder. ValueError: there is none, or it cannot be read."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = os.path.join(folder, "saved_model.pb")
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{folder} is no exported module: it has no saved_model.pb (see mmv_tf.export.saved_model)")
    with tf.io.gfile.GFile(path, "rb") as file:
        try:
            return saved_model_pb2.SavedModel.FromString(file.read())
        except DecodeError:
            raise ValueError(f"{path} cannot be read: it is no SavedModel, or not whole") from None


def check_operations(folder: str, allowed: bool = False) -> None:
    """Checks, without loading it, that a module holds no operation that reads or writes files or runs Python.

    A module is a program, and this keeps no clever one from anything: see SECURITY.md.

    Args:
      folder: of the SavedModel.
      allowed: say what there is, and go on.
    Raises:
      ValueError: it holds some; names them.
    """
    graphs = [graph.graph_def for graph in _graph(folder).meta_graphs]
    nodes = itertools.chain.from_iterable(
        (graph.node, *(function.node_def for function in graph.library.function)) for graph in graphs
    )
    found = sorted({node.op for of_one in nodes for node in of_one} & _DANGEROUS)
    if not found:
        return
    what = f"{folder} holds operations that read or write files or run code: {', '.join(found)}"
    if not allowed:
        raise ValueError(f"{what}. If you trust whoever made it as you would a program: --allow_file_operations")
    print(what, flush=True)


def add_argument(parser) -> None:
    """Adds --allow_file_operations, for `check_operations`."""
    parser.add_argument(
        "--allow_file_operations", action="store_true", help="run a module whose graph can read and write files"
    )


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


def network(loaded, image=None) -> dict:
    """Which network a module holds, for `write_network`.

    Args:
      loaded: mmv_tf.training.workdir.Loaded, what is exported.
      image: the image network that goes along; None: there is none.
    """
    from mmv_tf.common import identity
    from mmv_tf.deflation.network import image_network

    found = {"identity": loaded.identity, "step": loaded.step}
    if image is not None:
        ours, naive = (identity.of_layer(one) for one in (image, image_network(loaded.model, variant="naive")))
        found |= {"variant": "naive" if ours == naive else "trained", "image_identity": ours}
    return found


def write_network(folder: str, network: dict) -> None:
    """Writes which network a module holds: see `check_network`."""
    from mmv_tf.common import files

    files.write_text(os.path.join(folder, *NETWORK.split("/")), json.dumps(network) + "\n")


def read_network(folder: str) -> dict:
    """What `write_network` wrote; {} for a module that does not tell. An earlier version wrote no image network.

    Raises:
      ValueError: the file is damaged; names it.
    """
    import tensorflow as tf

    from mmv_tf.common import files

    path = os.path.join(folder, *NETWORK.split("/"))
    if not tf.io.gfile.exists(path):
        return {}
    try:
        found = json.loads(files.read_text(path))
        if not isinstance(found, dict) or not {"identity", "step"} <= found.keys():
            raise ValueError("it has no identity and step")
        if ("variant" in found) != ("image_identity" in found) or found.get("variant") not in (None, *_IMAGES):
            raise ValueError("its variant or image_identity is missing or unknown")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not what an export writes ({error}): export again") from None
    return found


def check_network(folder: str, loaded, workdir: str) -> None:
    """Checks that a module holds the weights that `loaded` has from a workdir. A module that does not tell passes.

    So does one with the image network as it is without training: it is the one of these weights, whatever was trained
    in the workdir since.

    Raises:
      ValueError: it holds others, or another trained image network; says of which steps both are.
    """
    from mmv_tf.common import identity
    from mmv_tf.deflation.network import FOLDER, image_network

    held = read_network(folder)
    if held and held["identity"] != loaded.identity:
        raise ValueError(
            f"{folder} holds other weights or settings (step {held['step']}) than {workdir} has now (step "
            f"{loaded.step}): its card would be wrong; export again"
        )
    if held.get("variant") != "trained":
        return
    if identity.of_layer(image_network(loaded.model, workdir)) != held["image_identity"]:
        raise ValueError(
            f"{folder} holds another trained image network than {os.path.join(workdir, FOLDER)} has now: its card "
            "would be wrong; export again"
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
      ValueError: the module has none, or one that cannot be read: file and line are named.
    """
    if not _parse_if_there(folder):
        raise ValueError(_without_config(folder))


def parse_config_or_published(folder: str) -> str:
    """`parse_config`; of a module that has none, such as somebody else's, the clips of the published networks.

    Returns:
      what is to be said of that: one line, '' where there is nothing to say.
    Raises:
      ValueError: it has one that cannot be read: its clips are not known then, and other ones give other embeddings.
    """
    if _parse_if_there(folder):
        return ""
    from mmv_tf.common import config

    config.parse()
    what = "the clips of the published networks are taken, 32 frames at 10 Hz and 200 x 200 pixels"
    return f"{_without_config(folder)}: {what}"


def _parse_if_there(folder: str) -> bool:
    """Whether there is a configuration, which is parsed."""
    import tensorflow as tf

    from mmv_tf.common import config

    path = os.path.join(folder, *CONFIG.split("/"))
    if there := tf.io.gfile.exists(path):
        config.parse(foreign=[path], finalize=False, partly=True)
    return there


def _without_config(folder):
    return f"{folder}: no {CONFIG}, which says what size and rate of clip the module was trained on"


def modalities_compared(folder: str) -> set[frozenset[str]] | None:
    """`Graph.modalities_compared` of the configuration of a module, after `parse_config`.

    Returns:
      None if it has no graph, or, with a warning, one that cannot be made here: it names what is not here, such as a
      loss of whoever trained it, or is of an earlier version and refused now. All else of the module can be used.
    """
    import warnings

    import gin

    from mmv_tf.model.graph import Graph

    try:
        gin.query_parameter("Graph.pairs")
    except ValueError:  # a module of somebody else's, or a graph that is not made by the configuration
        return None
    try:
        return Graph().modalities_compared()
    except (ValueError, TypeError) as error:
        why = str(error).splitlines()[0]
        warnings.warn(f"{folder}: {CONFIG}: {why}: which modalities were trained together is not known", stacklevel=2)
        return None
