"""The examples of docs/extend.md, as they stand there."""

import json
import pathlib
import re
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_export
from mmv_tf.backbones import layers
from mmv_tf.beam.sources import manifest
from mmv_tf.common import config
from mmv_tf.evaluation import run as evaluation
from mmv_tf.model import losses
from mmv_tf.model.graph import Graph
from mmv_tf.model.mmv import MMV

ROOT = pathlib.Path(__file__).parents[2]
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "extend.md").read_text(), re.M | re.S))


def _blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[title], re.M | re.S)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes the code and the gin file of a section under a name; the path of the gin file."""
    monkeypatch.setattr(config._allowed, "imports", True)
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def write(title, name):
        names.append(name)
        (code,), (gin_file,) = _blocks(title, "python"), _blocks(title, "gin")
        (tmp_path / f"{name}.py").write_text(code)
        (tmp_path / f"{name}.gin").write_text(gin_file)
        return str(tmp_path / f"{name}.gin")

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_backbone(written):
    config.parse(["gin/va.gin", "gin/models/tiny.gin", written("A backbone", "frame_mean")], ["TRAIN_DATA = 'none'"])
    model = MMV()
    batch = {"video": tf.random.stateless_uniform([2, 4, 32, 32, 3], [0, 0]), "audio": tf.ones([2, 32, 16, 1])}
    found = model.embed(batch)
    assert found["video"]["repr"].shape == (2, 64) and found["video"]["va"].shape == found["audio"]["va"].shape
    assert isinstance(model.backbones["video"].conv, layers.ConvNorm)


def test_a_loss(written):
    bindings = ["Graph.spaces = {'va': 4}", "Graph.heads = [('video', 'va'), ('audio', 'va')]"]
    config.parse([written("A loss", "sigmoid_nce")], bindings)
    (pair,) = Graph().pairs
    rows, there = np.random.default_rng(0).standard_normal((2, 6, 4)), np.arange(6) != 3
    compared = pair.loss(*(losses.Embeddings.single(side.astype("float32"), there) for side in rows))
    first, second = (side[there] / np.linalg.norm(side[there], axis=1, keepdims=True) for side in rows)
    similarity, sign = first @ second.T / 0.1, 2 * np.eye(5) - 1
    np.testing.assert_allclose(compared.share(), np.mean(np.sum(np.log1p(np.exp(-sign * similarity)), 1)), rtol=1e-5)


def test_a_scorer(written):
    bindings = ["Graph.spaces = {'va': 4}", "Graph.heads = [('video', 'va'), ('audio', 'va')]"]
    config.parse([written("A scorer", "bilinear")], bindings)
    (pair,) = Graph().pairs
    scorer = pair.scorer(name=pair.scorer_name.replace(" ", "_"))
    first, second = np.random.default_rng(0).standard_normal((2, 6, 4)).astype("float32")
    scores = scorer(first, second)
    np.testing.assert_allclose(scores, first @ scorer.kernel.numpy() @ second.T, rtol=1e-4, atol=1e-5)
    compared = pair.loss(losses.Embeddings.single(first), losses.Embeddings.single(second), score=scorer)
    np.testing.assert_allclose(compared.positive, np.diag(scores), rtol=1e-4, atol=1e-5)


def test_a_modality():
    (code,) = _blocks("A modality", "python")
    keras.utils.set_random_seed(0)
    made = {}
    tf.config.run_functions_eagerly(True)  # two steps take less than their graph
    try:
        exec(compile(code, "extend.md", "exec"), made)
    finally:
        tf.config.run_functions_eagerly(False)
    assert np.isfinite(made["history"].history["total_loss"]).all()
    assert made["model"].embed({"depth": made["clips"][:2, 0]})["depth"]["vd"].shape == (2, 16)


def test_a_data_set(tmp_path):
    (code,) = _blocks("A data set", "python")
    made = {}
    exec(compile(code, "extend.md", "exec"), made)
    actions = [{"from": 1, "to": 3, "name": "run, jump"}]
    (tmp_path / "a.json").write_text(json.dumps({"videos": [{"file": "x.mp4", "actions": actions}]}))
    (tmp_path / "x.mp4").write_bytes(b"")
    assert made["manifest"](tmp_path / "a.json", tmp_path / "clips.csv") == 1
    inputs = manifest.from_manifest(str(tmp_path / "clips.csv"), str(tmp_path))
    ((clip,),) = [source.clips for source in inputs.sources]
    assert (clip.start, clip.end, clip.labels) == (1.0, 3.0, ("run, jump",))


def test_a_protocol(written, tmp_path):
    shared = tiny_export.export()
    shutil.copytree(shared.workdir, tmp_path / "run")
    (tmp_path / "records").mkdir()
    for path in shared.records.glob("train-*"):
        (tmp_path / "records" / path.name.replace("train", "test")).symlink_to(path)
    params = [f"RECORDS = '{tmp_path / 'records'}'", "NearestNeighbour.num_frames = 4"]
    params += ["NearestNeighbour.min_side = 36", "NearestNeighbour.crop_size = 32"]
    with tiny_export.loaded_once():
        gin_files = [written("A protocol of evaluation", "nearest")]
        result = evaluation.evaluate(str(tmp_path / "run"), gin_files=gin_files, gin_params=params)
    # Red and green squares: whatever sees the colour tells them apart.
    assert result["dataset"] == "mine" and result["value"] == 100
    assert result["baselines"]["chance"]["measures"]["top1"]["value"] == 50
