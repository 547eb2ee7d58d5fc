"""The example of Keras's own way, run on tiny records: its callbacks see the logs, and the rest takes its workdir."""

import csv
import importlib.util
import pathlib

import numpy as np
import pytest

from helpers import tiny
from mmv_tf.common import config
from mmv_tf.training import workdir as workdirs

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("keras_fit", ROOT / "examples" / "keras_fit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fit_leaves_logs_and_a_workdir(example, tmp_path):
    records = tiny.make_records(tmp_path / "records")
    words = tiny.write_vocabulary(tmp_path / "words.txt")
    params = [*tiny.bindings(records, words), "VideoInput.colour_probability = 0.0"]
    config.parse(["gin/va.gin"], [one for one in params if not _of_no_use(one)])
    run = str(tmp_path / "run")
    model, history = example.train(batch_size=8, steps_per_epoch=2, epochs=2, workdir=run, eagerly=True)
    rows = list(csv.DictReader((tmp_path / "run" / "fit.csv").open()))
    losses = [float(row["total_loss"]) for row in rows]
    assert losses == pytest.approx(history["total_loss"]) and losses[0] != losses[1] > 0
    assert all(0 <= float(row["accuracy/video_audio"]) <= 1 for row in rows)
    loaded = workdirs.load(run)
    assert loaded.step == 4
    for name, variable in loaded.model.named_variables().items():
        np.testing.assert_array_equal(variable, model.named_variables()[name], err_msg=name)
    with pytest.raises(ValueError, match="is there already"):
        example.main(["--gin_file=gin/va.gin", f"--workdir={run}"])


def _of_no_use(binding):
    return any(name in binding for name in ("VOCABULARY", "TextNetwork", "Graph.spaces", "STEPS", "train.", "warmup"))
