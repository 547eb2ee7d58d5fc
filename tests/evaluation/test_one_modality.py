"""Graphs with one modality (SimCLR on images, CVRL on clips): deflation, export, and a linear protocol to its end.

That they train is in tests/training/test_systems.py; here the workdir holds fresh weights, which takes less time.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny
from mmv_tf.common import config
from mmv_tf.deflation import run as deflation
from mmv_tf.evaluation import run as evaluate
from mmv_tf.export import saved_model
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.run import train

SMALL = [
    "VideoInput.num_frames = 2",
    "VideoInput.min_side = 36",
    "VideoInput.crop_size = 32",
    "VideoInput.jit_compile = False",
    "Graph.heads = [('video', 'v', {'hidden': (8,)})]",
]
PROTOCOL = ["min_side = 36", "crop_size = 32"]


def _made(folder, system, frames, *more):
    """(workdir, records): 12 clips of one or several frames in the splits train and test."""
    pattern = tiny.make_records(folder / "records", count=12, shards=2, frames=frames)
    for path in (folder / "records").glob("train-*"):
        path.with_name(path.name.replace("train", "test")).write_bytes(path.read_bytes())
    (folder / "records" / "dataset.json").unlink()
    config.parse([f"gin/systems/{system}.gin", "gin/models/tiny.gin"], [f"TRAIN_DATA = '{pattern}'", *SMALL, *more])
    train(str(folder / "run"), tf.distribute.get_strategy(), "init")
    return folder / "run", folder / "records"


def _evaluated(protocol, records, more=(), **of):
    params = [f"Evaluation.protocol = @{protocol}()", f"{protocol}.records = '{records}'"]
    params += [f"{protocol}.{line}" for line in (*PROTOCOL, *more)]
    return evaluate.evaluate(gin_params=params, **of)


@pytest.fixture(scope="module")
def simclr(tmp_path_factory):
    """(workdir, records of one frame, report of the deflation)."""
    folder = tmp_path_factory.mktemp("simclr")
    workdir, records = _made(folder, "simclr_r50", 1, "ResNetV1.width = 0.125")
    few = ["Deflation.steps = 1", "Deflation.check_every = 1", "Deflation.batch_size = 4"]
    few.append("Deflation.held_out_share = 0.25")
    report = deflation.deflate_workdir(str(workdir), gin_params=few, retrieval_records="")
    return workdir, records, report


def test_a_network_of_images_is_its_own_image_network(simclr):
    _, _, report = simclr
    assert report["frames"] == 1 and report["image_size"] == 32
    for space in ("repr", "v"):  # there is no time to leave out
        assert report["distance_to_inflated"][space]["naive"]["relative_l2"] < 1e-5
    assert report["cost"]["multiply_adds_ratio"] == pytest.approx(1)


def test_simclr_is_evaluated_on_images(simclr):
    workdir, records, _ = simclr
    result = _evaluated("LinearImages", records, ["variant = 'trained'"], workdir=str(workdir))
    assert result["value"] > 50 and result["n"]["test"] == 12  # red and green squares; chance is 50
    assert set(result["baselines"]) == {"chance", "untrained", "raw"}
    assert json.loads((workdir / "results" / "LinearImages_trained.json").read_text())["network"]["step"] == 0


def test_cvrl_is_exported_and_its_module_evaluated_on_clips(tmp_path):
    # Its graph, and a network of few layers: its own is built and traced in tests/backbones and tests/training.
    few = ["MMV.backbones = {'video': @S3D()}", "S3D.width = 0.125", "S3D.final_endpoint = 'Conv2d_1a_7x7'"]
    workdir, records = _made(tmp_path, "cvrl", 4, *few)
    loaded = workdirs.load(str(workdir))
    module = str(tmp_path / "module")
    # Of the image network: tests/deflation/test_network.py.
    assert saved_model.save(loaded, module, str(workdir), image=False) == {"video": ["before_head", "v"]}
    clips = np.random.default_rng(0).random((2, 2, 32, 32, 3)).astype(np.float32)
    found = tf.saved_model.load(module).signatures["video"](tf.constant(clips))
    expected = loaded.model.embed({"video": clips})["video"]
    np.testing.assert_allclose(found["v"], expected["v"], rtol=1e-3, atol=1e-4)
    more = ["num_frames = 2", "train_windows = 1", "test_windows = 2"]
    result = _evaluated("LinearVideo", records, more, module=module, output=str(tmp_path / "module.json"))
    assert result["value"] > 50 and result["n"]["test"] == 12 and "raw" in result["baselines"]
