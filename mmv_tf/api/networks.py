"""Networks of `mmv_tf.load`: what a folder or file holds, as one function a modality, in the form of the signatures."""

import os
import tempfile
from collections.abc import Callable
from typing import Any

from mmv_tf.common import config, files, quiet
from mmv_tf.export.embedding.clip_cutter import ClipSettings


class Networks:
    """What `Model` runs. One class a kind of place; see `find`.

    Attributes:
      clips: ClipSettings.
      spaces: {modality: {space: d}}, those of a picture under 'image' where there is an image network.
      pairs: set of frozensets of two modalities that were trained together; None: not known.
      licence: of the weights, where they have one of their own; otherwise ''.
    """

    clips: ClipSettings
    spaces: dict[str, dict[str, int]]
    pairs: set[frozenset[str]] | None
    licence: str

    def function(self, modality: str) -> Callable:
        """One tensor as the export's signature takes it -> {output: tensor}."""
        raise NotImplementedError

    def image_module(self) -> Any:
        """The image network as a module of TensorFlow Hub. ValueError: there is none; says why."""
        raise NotImplementedError


class _Exported(Networks):
    def __init__(self, folder: str, allow_file_operations: bool):
        import tensorflow as tf

        from mmv_tf.export import module_files

        module_files.check_operations(folder, allow_file_operations)
        signatures = module_files.signatures(folder)
        self.folder = folder
        self.spaces = {
            name: {space: size or 0 for space, size in one.spaces.items() if space != "before_head"}
            for name, one in signatures.items()
        }
        with config.kept():
            if said := module_files.parse_config_or_published(folder):
                import warnings

                warnings.warn(said, stacklevel=4)
            self.pairs = module_files.modalities_compared(folder)
            self.clips = ClipSettings.from_gin(has_audio="audio" in signatures)
        licence = os.path.join(folder, module_files.EXTRA, "WEIGHTS_LICENSE.txt")
        self.licence = files.read_text(licence) if tf.io.gfile.exists(licence) else ""
        self._module = tf.saved_model.load(folder)

    def function(self, modality):
        return self._module.signatures[modality]

    def image_module(self):
        found = getattr(getattr(self._module, "embed", None), "image", None)
        if found is None:
            raise ValueError(f"{self.folder}: has no image network; export it again, without --no_image")
        return found


class _Trained(Networks):
    def __init__(self, folder: str):
        import tensorflow as tf

        from mmv_tf.training import workdir as workdirs

        self.folder, self._image = folder, None
        with config.kept():
            self._loaded = workdirs.load(folder)
            graph = self._loaded.model.graph
            self.pairs = graph.modalities_compared()
            self.clips = ClipSettings.from_gin(has_audio="audio" in graph.modalities)
        self.spaces = {one: {space: graph.spaces[space] for space in graph.spaces_of(one)} for one in graph.modalities}
        if "video" in self.spaces:
            self.spaces["image"] = dict(self.spaces["video"])
        licence = os.path.join(folder, workdirs.WEIGHTS_LICENSE)
        self.licence = files.read_text(licence) if tf.io.gfile.exists(licence) else ""

    def function(self, modality):
        import tensorflow as tf

        from mmv_tf.export import signatures

        network = self._image_network() if modality == "image" else self._loaded.model.backbones[modality]
        embed = signatures.embed_function(self._loaded, modality, network)
        # Traced when it is first called: an export traces all of its modalities, in training mode as well.
        return tf.function(embed, input_signature=[signatures.RAW_INPUTS[modality].spec], autograph=False)

    def _image_network(self):
        from mmv_tf.deflation.network import image_network

        if self._image is None:
            with config.kept():
                self._image = image_network(self._loaded.model, self.folder)
        return self._image

    def image_module(self):
        from mmv_tf.export import signatures

        return _Callable(signatures.module(self._loaded, "image", self._image_network())[0])


class _Callable:
    """A module that was made here and not loaded, to be called like one that was."""

    def __init__(self, module):
        self._module = module
        self.variables, self.trainable_variables = list(module.variables), list(module.trainable_variables)
        self.regularization_losses = []

    def __call__(self, inputs, training=False):
        return self._module.__call__(inputs, training)


def find(path: str, vocabulary: str | None = None, allow_file_operations: bool = False) -> Networks:
    """The networks of a workdir, an export, or a released checkpoint.

    Raises:
      ValueError: none of these, or what it holds is damaged; one line that names it and says what is wanted.
      OSError: it cannot be read.
    """
    path = os.path.expanduser(path)
    exists = os.path.exists if not files.is_remote(path) else _exists
    if path.endswith(".pkl") or os.path.isfile(path):
        return _released(path, vocabulary)
    if vocabulary is not None:
        raise ValueError(f"vocabulary: {path} has its own, or none; only a released .pkl file needs one")
    quiet.devices()  # the lines of CUDA on a machine without a card are no greeting
    if exists(os.path.join(path, "saved_model.pb")):
        return _Exported(path, allow_file_operations)
    if exists(os.path.join(path, "config.gin")):
        return _Trained(path)
    what = "not a workdir, an export or a .pkl file of released weights" if exists(path) else "no such folder"
    holds = ""
    if exists(path):
        inside = [name for name in sorted(os.listdir(path)) if os.path.isdir(os.path.join(path, name))]
        near = [n for n in inside if any(exists(os.path.join(path, n, f)) for f in ("saved_model.pb", "config.gin"))]
        holds = f"; {os.path.join(path, near[0])} is one" if near else ""
    raise ValueError(f"{path}: {what}{holds} (`mmv_tf train` makes a workdir, `mmv_tf export` an export)")


def _exists(path):
    import tensorflow as tf

    return tf.io.gfile.exists(path)


def _released(path, vocabulary):
    """A checkpoint of the authors becomes a workdir for as long as it is loaded."""
    from mmv_tf.released import from_deepmind

    with tempfile.TemporaryDirectory(prefix="mmv_tf-") as folder:
        imported = from_deepmind.convert_file(path)
        from_deepmind.save(imported, folder, path, vocabulary)
        return _Trained(folder)
