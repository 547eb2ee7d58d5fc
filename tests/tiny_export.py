"""An export of the tiny untrained network, made once a process and moved away from where it was written."""

import dataclasses
import functools
import os
import shutil
import tempfile

import numpy as np
import tiny

from mmv_tf import deflate
from mmv_tf import workdir as workdirs
from mmv_tf.export import saved_model


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
    written, workdir = os.path.join(folder.name, "first", "module"), os.path.join(folder.name, "first", "run")
    tiny.untrained_workdir(workdir, os.path.join(folder.name, "first", "records"))
    loaded = workdirs.load(workdir)
    image_network = deflate.image_network(loaded.model, workdir)
    saved_model.save(loaded, written, workdir)
    module = shutil.move(written, os.path.join(folder.name, "elsewhere"))
    shutil.rmtree(os.path.join(folder.name, "first"))
    return Exported(str(module), loaded, image_network, folder)


def inputs() -> dict[str, np.ndarray]:
    """Raw inputs, two samples a signature."""
    rs = np.random.RandomState(0)
    return {
        "video": rs.uniform(size=(2, 4, 32, 32, 3)).astype(np.float32),
        "image": rs.uniform(size=(2, 32, 32, 3)).astype(np.float32),
        "audio": rs.uniform(-1, 1, (2, 20000)).astype(np.float32),
        "text": np.array([b"A red ball, rolling!", b"nothing known xyzzy"]),
    }
