"""One run, one export and one set of records of the tiny untrained network for all tests of a process.

To make them, and to load them, takes a while. Nobody changes anything in them: whoever has to works on a copy.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny
from mmv_tf.export import saved_model
from mmv_tf.export.embedding import clip_cutter
from mmv_tf.training import workdir as workdirs


class Export(NamedTuple):
    """Folders of the records, of the run and of its module, and the run as it was loaded."""

    records: pathlib.Path
    workdir: pathlib.Path
    module: pathlib.Path
    loaded: workdirs.Loaded


class Client(NamedTuple):
    """What a process without our code had of the module (see hub_client.py), and what the embedding job left there."""

    outputs: dict[str, np.ndarray]
    report: dict
    embeddings: pathlib.Path
    said: str


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


@functools.cache
def client() -> Client:
    """Of a process that loads the module from elsewhere, as users do, and embeds the records."""
    records, folder = export().records, pathlib.Path(_folder().name, "client")
    shutil.copytree(records, folder / "records")
    np.savez(folder / "inputs.npz", **inputs())
    script = pathlib.Path(__file__).with_name("hub_client.py")
    embeddings = folder / "embeddings"
    flags = ["--records", folder / "records/train-*", "--output", embeddings, "--num_shards=2"]
    flags += ["--signatures=video,audio,text,image", "--direct_num_workers=1"]
    with moved_away(folder) as module:
        arguments = [script, module, folder / "inputs.npz", folder / "outputs.npz", *flags]
        result = subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    report = json.loads(result.stdout.splitlines()[-1])
    return Client(dict(np.load(folder / "outputs.npz")), report, embeddings, result.stdout)


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


@contextlib.contextmanager
def clips_cut_by_one_graph():
    """Embedding jobs of the same settings, one after the other, share it: to trace it takes half of a short job."""
    made, make = {}, clip_cutter.ClipCutter

    def cutter(settings, modalities, box=None):
        rate = settings.audio and settings.audio.sample_rate  # the front end itself is another one in every job
        key = dataclasses.replace(settings, audio=rate), tuple(modalities), box
        if key not in made:
            made[key] = make(settings, modalities, box)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_cutter, "ClipCutter", cutter)
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
