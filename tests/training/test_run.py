"""Training as a user runs it: the same command goes on where it stopped, on the same path; errors in one line."""

import json
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf

from helpers import processes, runs, tiny, toy
from mmv_tf.backbones import residual
from mmv_tf.common import config
from mmv_tf.model.mmv import MMV
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.run import train

BLOCKS = ((1, 1), False)  # of the sound network of these runs: half of those of depth 10, to trace in less time


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    everything = tiny.bindings(tiny.make_records(folder), tiny.write_vocabulary(folder / "vocabulary.txt"))
    # Adam turns rounding into steps of the size of the rate: a small one, where runs are compared.
    small = ["warmup_cosine.peak = 0.0002", "AudioResNet.depth = 18"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(residual.DEPTHS, 18, BLOCKS)
        yield [*everything, *small]


def _arguments(workdir, bindings):
    params = [f"--gin_param={binding}" for binding in bindings]
    return ["-m", "mmv_tf.train", "--gin_file=gin/fac.gin", f"--workdir={workdir}", *params]


def _train(workdir, bindings, **options):
    config.parse(["gin/fac.gin"], bindings)
    return train(str(workdir), tf.distribute.get_strategy(), **options)


def _run_small(arguments):
    residual.DEPTHS[18] = BLOCKS
    processes.run_module(arguments)


def _process(folder, workdir, bindings):
    """As a user runs it: rounding is that of another such process, whatever this one has done before."""
    return processes.Process(folder / "log.txt", _run_small, _arguments(workdir, bindings))


def _train_in_a_process(workdir, bindings):
    process = _process(workdir, workdir, bindings)
    assert process.wait() == 0, process.output()


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    _train_in_a_process(workdir, data)
    return workdir


def test_a_run_leaves_what_export_and_evaluation_need(undisturbed):
    assert sorted(runs.losses(undisturbed)) == [2, 4, 6, 8]
    kinds = {value.tag for event in runs.events(undisturbed) for value in event.summary.value}
    assert {"clips", "config", "graph", "input_wait", "gradient_norm", "norm/audio/va", "spread/text/vat"} <= kinds
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert summary["steps"] == 8 and summary["loss/video_text"] > 0
    assert (undisturbed / "vocabulary.txt").read_text().split() == list(tiny.WORDS)
    loaded = workdirs.load(str(undisturbed))
    assert loaded.step == 8
    assert loaded.model.graph.spaces == {"va": 16, "vat": 8}


def test_a_killed_run_goes_on_as_if_nothing_had_happened(data, undisturbed, tmp_path):
    bindings = [*data, "train.deterministic = True"]
    process = _process(tmp_path, tmp_path, bindings)
    while not list((tmp_path / "checkpoints").glob("ckpt-4.index")):
        assert process.poll() is None, process.output()[-2000:]
        time.sleep(0.02)
    process.kill()
    assert "repeatable: TensorFlow is asked for the same bits every time" in process.output()
    _train_in_a_process(tmp_path, data)
    # Not to the last bit: on a machine under load one run of twenty leaves the others there (docs/pretraining.md).
    mine, other = runs.losses(tmp_path), runs.losses(undisturbed)
    assert mine.keys() == other.keys()
    np.testing.assert_allclose(list(mine.values()), [other[step] for step in mine], rtol=1e-5)
    mine, other = workdirs.load(str(tmp_path)), workdirs.load(str(undisturbed))
    for variable, expected in zip(mine.model.variables, other.model.variables, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5, err_msg=variable.path)


def test_a_run_whose_input_an_accelerator_finishes_takes_the_same_path(data, undisturbed, tmp_path, capsys):
    """Here on a CPU. It goes on where it stopped, and a record that it cannot decode is named."""
    bindings = [*data, "InputPipeline.finish_on = 'accelerator'"]
    _train(tmp_path, bindings, steps=4)
    assert "; the accelerator does the rest (InputPipeline.finish_on = 'accelerator')" in capsys.readouterr().out
    _train(tmp_path, bindings)
    mine, other = runs.losses(tmp_path), runs.losses(undisturbed)
    assert mine.keys() == other.keys()
    # Of single pixels the rounding is another one, and it grows from step to step; other clips differ by some per cent.
    np.testing.assert_allclose(mine[2], other[2], rtol=5e-4)
    np.testing.assert_allclose(list(mine.values()), [other[step] for step in mine], rtol=5e-3)


def test_two_replicas_read_the_same_clips_and_take_the_same_steps(data, undisturbed, tmp_path):
    config.parse(["gin/fac.gin"], data)
    train(str(tmp_path), toy.mirrored(2))
    one, two = runs.losses(undisturbed), runs.losses(tmp_path)
    assert one.keys() == two.keys()
    # Rounding grows from step to step in a network this small, with Adam; the first steps show that all is the same.
    np.testing.assert_allclose(two[2], one[2], rtol=1e-5)
    np.testing.assert_allclose(two[4], one[4], rtol=1e-4)


def test_a_run_in_bfloat16_with_micro_batches_and_a_probe(data, undisturbed, tmp_path):
    held_out = data[0].removeprefix("TRAIN_DATA = ")
    more = [
        "train.precision = 'mixed_bfloat16'",
        "VideoInput.jit_compile = True",  # as for users
        "MMV.micro_batches = 2",
        "Probe.every = 4",
        f"Probe.retrieval_data = {held_out}",
        f"Probe.labelled_train = {held_out}",
        f"Probe.labelled_test = {held_out}",
        f"train.init_from = '{undisturbed}'",
        "train.init_parts = ('audio',)",
        "train.keep_every = 4",
        # On this size of map, and not on one smaller than its kernel: there TensorFlow's bfloat16 gradient on CPUs is
        # whatever was in memory before.
        "LogMel.stride = 32",
        "LogMel.num_bins = 64",
    ]
    _train(tmp_path, [*data, *more, "STEPS = 4"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["probe/knn/video"] > 0 and summary["bad_records"] == []
    steps = [e.step for e in runs.events(tmp_path) for v in e.summary.value if v.tag == "probe/knn/audio"]
    assert sorted(steps) == [0, 4]  # the untrained network, too
    assert (tmp_path / "checkpoints" / "kept" / "ckpt-4.index").exists()
    loaded = workdirs.load(str(tmp_path)).model
    assert {v.dtype for v in loaded.variables} == {"float32"} and loaded.backbones["video"].compute_dtype == "float32"


def test_init_writes_the_untrained_network(data, tmp_path):
    _train(tmp_path, data, mode="init")
    assert workdirs.load(str(tmp_path)).step == 0


def test_a_run_with_another_model_leaves_a_workdir_as_it_was(data, undisturbed):
    config_file = undisturbed / "config.gin"
    before = config_file.read_text()
    with pytest.raises(ValueError, match="does not fit the configured model"):
        _train(undisturbed, [*data, "Graph.spaces = {'va': 12, 'vat': 8}"])
    assert config_file.read_text() == before
    with pytest.raises(ValueError, match="holds step 8"):
        _train(undisturbed, data, mode="init")


def test_a_schedule_that_does_not_end_with_the_run_is_told(data, undisturbed, tmp_path, capsys):
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    _train(workdir, data)
    assert "total_steps" not in capsys.readouterr().out  # the folder is named after the test
    _train(workdir, [*data, "STEPS = 80", "train.steps = 8"])
    assert "ends at step 80 (warmup_cosine.total_steps), the run at step 8 (train.steps)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("S3D.widht = 2.0", "widht"),
        ("TRAIN_DATA = '/nowhere/train-*'", "/nowhere/train-*"),
        ("InputPipeline.modalities = ('video', 'smell')", "smell"),
        ("train.batch_size = 7", None),
        ("Probe.every = 3", "Probe.every = 3"),
        ("train.precision = 'float8'", "float8"),
        ("train.checkpoint_every = 3", "must be a multiple of train.steps_per_loop"),
        ("train.init_parts = ('video',)", "are parts of train.init_from, which is not set"),
        ("keras.optimizers.Adam.gradient_accumulation_steps = 2", "set MMV.micro_batches = 2"),
        ("TextNetwork.vocabulary_size = 3", "vocabulary_size"),
    ],
)
def test_mistakes_end_in_an_error_that_names_them(data, tmp_path, change, message):
    if message is None:
        with pytest.raises(ValueError, match="cannot be divided among 2 replicas"):
            config.parse(["gin/fac.gin"], [*data, change])
            train(str(tmp_path), toy.mirrored(2))
        return
    with pytest.raises(Exception, match=message.replace("*", r"\*")) as error:
        _train(tmp_path, [*data, change])
    assert isinstance(error.value, ValueError | OSError)


def test_a_corrupt_record_stops_the_run_and_is_named(data, undisturbed, tmp_path, monkeypatch):
    # The network is not at fault: steps that do nothing are traced in no time.
    monkeypatch.setattr(MMV, "take_step", lambda model, batch: tf.ones([len(model.log_names), 2]))
    shutil.copytree(undisturbed, tmp_path / "run")
    pattern = tiny.make_records(tmp_path)
    bindings = [*data, f"TRAIN_DATA = '{pattern}'", "STEPS = 12"]
    shard = tmp_path / "train-00002-of-00004"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    named = r"shard .*train-00002-of-00004: record \d of 6 cannot be read"
    with pytest.raises(ValueError, match=rf"after step \d+: {named}"):
        _train(tmp_path / "run", bindings)
    with pytest.raises(ValueError, match=named):  # already when the first clips are shown
        _train(tmp_path / "another", bindings)


def test_a_mistake_on_the_command_line_is_one_line_and_exit_status_2(data, tmp_path):
    process = _process(tmp_path, tmp_path / "run", [*data, "S3D.widht = 2.0"])
    assert process.wait() == 2
    errors = [line for line in process.output().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "widht" in errors[0]
    assert "Traceback" not in process.output()
