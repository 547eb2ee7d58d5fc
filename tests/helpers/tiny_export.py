"""One run, one export and one set of records of the tiny untrained network for all tests of a process.

To make them, and to load them, takes a while. Nobody changes anything in them: whoever has to works on a copy.
"""

import contextlib
import functools
import os
import pathlib
import shutil
import tempfile
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny
from mmv_tf.export import saved_model
from mmv_tf.training import workdir as workdirs


class Export(NamedTuple):
    """Folders of the records, of the run and of its module, and the run as it was loaded."""

    records: pathlib.Path
    workdir: pathlib.Path
    module: pathlib.Path
    loaded: workdirs.Loaded


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="tiny_export_")  # goes with the process


@functools.cache
def export() -> Export:
    """The shared one."""
    base = pathlib.Path(os.path.realpath(_folder().name), "shared")
    base.mkdir()
    records, workdir, module = base / "records", base / "run", base / "module"
    tiny.untrained_workdir(workdir, records)
    loaded = workdirs.load(str(workdir))
    saved_model.save(loaded, str(module), str(workdir))
    return Export(records, workdir, module, loaded)


@functools.cache
def module():
    """Its module, loaded."""
    return tf.saved_model.load(str(export().module))


def copied(folder: pathlib.Path) -> Export:
    """A copy of all its folders, in one that is not there yet; what is loaded is the shared one."""
    shared = export()
    shutil.copytree(shared.module.parent, folder)
    return Export(*(folder / path.name for path in shared[:3]), shared.loaded)


@contextlib.contextmanager
def moved_away(folder: pathlib.Path):
    """The path of its module, moved to `folder`: while this lasts, nothing that it was made from is where it was."""
    base, away = export().module.parent, pathlib.Path(_folder().name, "away")
    elsewhere = shutil.copytree(export().module, folder / "elsewhere")
    base.rename(away)
    try:
        yield elsewhere
    finally:
        away.rename(base)


@contextlib.contextmanager
def loaded_once():
    """Whoever loads the run, or a copy of it, or the module gets what was loaded once; settings are parsed as ever."""
    load = tf.saved_model.load

    def load_run(*args):
        workdirs.parse_config(*args)
        return export().loaded

    def load_module(path, *args, **options):
        return module() if os.path.realpath(path) == str(export().module) else load(path, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        module()
        patch.setattr(workdirs, "load", load_run)
        patch.setattr(tf.saved_model, "load", load_module)
        yield


def inputs() -> dict[str, np.ndarray]:
    """Raw inputs, two samples a signature."""
    rs = np.random.RandomState(0)
    return {
        "video": rs.uniform(size=(2, 4, 32, 32, 3)).astype(np.float32),
        "image": rs.uniform(size=(2, 32, 32, 3)).astype(np.float32),
        "audio": rs.uniform(-1, 1, (2, 20000)).astype(np.float32),
        "text": np.array([b"A red ball, rolling!", b"nothing known xyzzy"]),
    }
