"""The examples of docs/extend.md, as they stand there."""

import json
import pathlib
import re
import shlex
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmv_tf
from helpers import tiny, tiny_export
from mmv_tf import evaluate, train
from mmv_tf.backbones import layers
from mmv_tf.beam.sources import manifest
from mmv_tf.common import config
from mmv_tf.export import module_files, saved_model
from mmv_tf.inputs.video import VideoInput
from mmv_tf.model import losses
from mmv_tf.model.graph import Graph
from mmv_tf.model.mmv import MMV

ROOT = pathlib.Path(__file__).parents[2]
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "extend.md").read_text(), re.M | re.S))


def _blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[title], re.M | re.S)


def _command(title: str, number: int = 0) -> list[str]:
    """What is typed behind `python -m MODULE` in a command of a section."""
    commands = re.findall(r"^    python -m ((?:.*\\\n)*.+)$", SECTIONS[title], re.M)
    return shlex.split(commands[number].replace("\\\n", " "))[1:]


def _put(arguments: list[str], places: dict[str, object]) -> list[str]:
    """The same with other folders and files: what an argument says behind its last '='."""
    return [
        f"{head}{equals}{places[last]}" if last in places else one
        for one in arguments
        for head, equals, last in [one.rpartition("=")]
    ]


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


def test_a_backbone(written, tmp_path, monkeypatch, capsys):
    gin_file = written("A backbone", "frame_mean")
    config.parse(["gin/va.gin", "gin/models/tiny.gin", gin_file], ["TRAIN_DATA = 'none'"])
    model = MMV()
    batch = {"video": tf.random.stateless_uniform([2, 4, 32, 32, 3], [0, 0]), "audio": tf.ones([2, 32, 16, 1])}
    found = model.embed(batch)
    assert found["video"]["repr"].shape == (2, 64) and found["video"]["va"].shape == found["audio"]["va"].shape
    assert isinstance(model.backbones["video"].conv, layers.ConvNorm)

    # The commands of the page, in this order, on a tiny network.
    pattern = tiny.make_records(tmp_path / "records", count=2, shards=1)
    places = {"frame_mean.gin": gin_file, "runs/mean": tmp_path / "mean", "exported/mean": tmp_path / "exported"}
    small = tiny.bindings(pattern, "")
    small = [f"--gin_param={one}" for one in small if not one.startswith(("Text", "VOCABULARY", "Graph"))]
    command = _put(_command("A backbone"), places) + small + ["--gin_param=Graph.spaces = {'va': 16}", "--mode=init"]
    assert train.cli(command) == 0, capsys.readouterr().err
    kept = (tmp_path / "mean" / "config.gin").read_text()
    assert "import" not in kept and "VIDEO = @FrameMean()" in kept
    (tmp_path / "mean" / "config.gin").write_text(f"import frame_mean\n\n{kept}")  # as it was written once
    clip = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    loaded = mmv_tf.load(tmp_path / "mean")
    found = loaded.embed(video=clip, image=clip[0], representations=True)
    network = loaded._networks._loaded.model.backbones["video"]
    wanted = network(clip[None] / np.float32(255))
    assert wanted.shape == (1, 64)
    np.testing.assert_allclose(found["video"]["before_head"], wanted, rtol=1e-4, atol=1e-6)
    still = network(np.repeat(clip[None, :1], 4, 1) / np.float32(255))  # FrameMean sees each frame by itself
    np.testing.assert_allclose(found["image"]["before_head"], still, rtol=1e-4, atol=1e-6)
    # To trace and write all networks takes several seconds, and is what tests/export does.
    monkeypatch.setattr(saved_model, "save", lambda loaded, *_, **__: {"networks": sorted(loaded.model.backbones)})
    asked = _put(_command("A backbone", 1), places)
    assert saved_model.cli(asked) == 0 and "networks: audio, video" in capsys.readouterr().out
    assert saved_model.cli([one for one in asked if one != "--allow_gin_imports"]) == 2
    assert "'import frame_mean' would run code" in capsys.readouterr().err


def test_a_module_is_read_where_what_it_was_trained_with_is_not(tmp_path):
    text = (
        "VIDEO = @mine.Gone()\nmine.Gone.channels = 3\nMMV.backbones = {'video': %VIDEO}\nVideoInput.num_frames = 7\n"
        "Graph.spaces = {'va': 4}\nGraph.heads = [('video', 'va'), ('audio', 'va')]\n"
        "Graph.pairs = [('video', 'audio', 'va', {'loss': @mine.loss})]\nFrameMean.channels = %mine.CONSTANT\n"
    )
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "config.gin").write_text(text)
    module_files.parse_config(str(tmp_path))
    assert VideoInput().num_frames == 7
    with pytest.warns(UserWarning, match="No configurable matching reference '@mine.loss'"):
        assert module_files.modalities_compared(str(tmp_path)) is None
    with pytest.raises(ValueError, match="config.gin, line 1: there is no mine.Gone. If it is yours, give a gin file"):
        config.parse(foreign=[str(tmp_path / "assets.extra" / "config.gin")])


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
    places = {"nearest.gin": written("A protocol of evaluation", "nearest"), "runs/own": tmp_path / "run"}
    command = _put(_command("A protocol of evaluation"), places)
    with tiny_export.loaded_once():
        assert evaluate.cli([*command, *(f"--gin_param={one}" for one in params)]) == 0
    result = json.loads((tmp_path / "run" / "results" / "nearest.json").read_text())
    # Red and green squares: whatever sees the colour tells them apart.
    assert result["dataset"] == "mine" and result["value"] == 100
    assert result["baselines"]["chance"]["measures"]["top1"]["value"] == 50
