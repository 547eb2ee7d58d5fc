"""An export of the tiny untrained network, made once a process and moved away from where it was written."""

import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile

import numpy as np

from helpers import exports
from mmv_tf.deflation import network as deflate
from mmv_tf.training import workdir as workdirs


@dataclasses.dataclass(frozen=True)
class Exported:
    """The export, and the model that it was made from. Nothing else that it was made from is there any more."""

    module: str
    loaded: workdirs.Loaded
    image_network: object
    folder: tempfile.TemporaryDirectory


@functools.cache
def exported() -> Exported:
    folder = tempfile.TemporaryDirectory()
    first = pathlib.Path(folder.name, "first")
    export = exports.make(first)
    image_network = deflate.image_network(export.loaded.model, str(export.workdir))
    module = shutil.move(export.module, os.path.join(folder.name, "elsewhere"))
    shutil.rmtree(first)
    return Exported(str(module), export.loaded, image_network, folder)


def inputs() -> dict[str, np.ndarray]:
    """Raw inputs, two samples a signature."""
    rs = np.random.RandomState(0)
    return {
        "video": rs.uniform(size=(2, 4, 32, 32, 3)).astype(np.float32),
        "image": rs.uniform(size=(2, 32, 32, 3)).astype(np.float32),
        "audio": rs.uniform(-1, 1, (2, 20000)).astype(np.float32),
        "text": np.array([b"A red ball, rolling!", b"nothing known xyzzy"]),
    }
