"""Self-Supervised MultiModal Versatile Networks (Alayrac et al., NeurIPS 2020) in TensorFlow 2 / Keras."""

import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from mmv_tf.api.model import Model

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

# TensorFlow's C++ side tells of every missing GPU library; its warnings show with TF_CPP_MIN_LOG_LEVEL=0.
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def load(path: str | _os.PathLike, vocabulary: str | None = None, allow_file_operations: bool = False) -> "Model":
    """A network to embed with, from a workdir, an export or the authors' released weights.

        model = mmv_tf.load("exported/fac")
        found = model.embed(video=["a.mp4", "b.mp4"], text=["a dog barks"])
        print(model.similarity(found, "text", "video"))  # cosines [1, 2]

    Args:
      path: folder of a run (`mmv_tf train`, `mmv_tf from-deepmind`) or of an export, or a released .pkl file.
      vocabulary: of a .pkl file, one word a line; without it the network has no text.
      allow_file_operations: load an export whose graph can read and write files; see SECURITY.md.
    Raises:
      ValueError, OSError: none of these, or damaged; one line that names it.
    """
    from mmv_tf.api.model import Model
    from mmv_tf.api.networks import find

    path = _os.fspath(path)
    return Model(find(path, vocabulary, allow_file_operations), path)
