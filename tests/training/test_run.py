"""Training as a user runs it: the same command goes on where it stopped, on the same path; errors in one line."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from helpers import processes, runs, tiny, toy
from mmv_tf.backbones import residual
from mmv_tf.common import config
from mmv_tf.model.mmv import MMV
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.run import train
from mmv_tf.training.trainer import Trainer

BLOCKS = ((1, 1), False)  # of the sound network of these runs: half of those of depth 10, to trace in less time


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    everything = tiny.bindings(tiny.make_records(folder), tiny.write_vocabulary(folder / "vocabulary.txt"))
    # Adam turns rounding into steps of the size of the rate: a small one, where runs are compared.
    small = [
        "warmup_cosine.peak = 0.0002",
        "AudioResNet.depth = 18",
        "S3D.final_endpoint = 'Conv2d_1a_7x7'",
        "train.checkpoints_to_keep = 5",  # all: other runs go on from them
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(residual.DEPTHS, 18, BLOCKS)
        yield [*everything, *small]


def _arguments(workdir, bindings):
    params = [f"--gin_param={binding}" for binding in bindings]
    return ["-m", "mmv_tf.train", "--gin_file=gin/fac.gin", f"--workdir={workdir}", *params]


def _train(workdir, bindings, **options):
    config.parse(["gin/fac.gin"], bindings)
    return train(str(workdir), tf.distribute.get_strategy(), **options)


def _run_small(arguments, number=None, step=0):
    """With `number`, this signal comes to the process in the loop of steps that begins at `step`."""
    residual.DEPTHS[18] = BLOCKS
    take_steps = Trainer.train

    def with_signal(self, num_steps):
        if number and int(self._step.numpy()) == step:
            os.kill(os.getpid(), number)
        return take_steps(self, num_steps)

    Trainer.train = with_signal
    processes.run_module(arguments)


def _process(folder, workdir, bindings, *signalled):
    """As a user runs it: rounding is that of another such process, whatever this one has done before."""
    arguments = _arguments(workdir, bindings)
    return processes.Process(folder / "log.txt", _run_small, arguments, *signalled, as_users=True)


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    process = _process(workdir, workdir, data)
    assert process.wait() == 0, process.output()
    return workdir


def _as_it_was(undisturbed, step, workdir):
    """A copy of the run with the checkpoint of that step as its only one, and without logs: what goes on from there
    need not draw example clips, a quarter of the time of so short a run."""
    shutil.copytree(undisturbed, workdir, ignore=shutil.ignore_patterns("checkpoints", "events*", "summary.json"))
    (workdir / "checkpoints").mkdir()
    for path in (undisturbed / "checkpoints").glob(f"ckpt-{step}.*"):
        shutil.copy(path, workdir / "checkpoints")
    tf.compat.v1.train.update_checkpoint_state(str(workdir / "checkpoints"), f"ckpt-{step}")
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


def test_a_run_that_was_killed_and_then_stopped_goes_on_as_if_nothing_had_happened(data, undisturbed, tmp_path):
    workdir = _as_it_was(undisturbed, 2, tmp_path / "run")
    process = _process(tmp_path, workdir, [*data, "train.deterministic = True"], signal.SIGKILL, 4)
    assert process.wait() == -signal.SIGKILL, process.output()
    assert "repeatable: TensorFlow is asked for the same bits every time" in process.output()
    assert runs.newest(workdir) == 4
    # No checkpoint is due at the step after which it stops, so it must save.
    process = _process(tmp_path, workdir, [*data, "train.checkpoint_every = 1000000"], signal.SIGTERM, 4)
    assert process.wait() == 128 + signal.SIGTERM, process.output()
    last = process.output().splitlines()[-1]
    assert "SIGTERM" in last and "the checkpoint is written, and the same command goes on from there" in last
    assert runs.newest(workdir) == 6
    # Not to the last bit: on a machine under load one run of twenty leaves the others there (docs/pretraining.md).
    mine, other = runs.losses(workdir), runs.losses(undisturbed)
    assert list(mine) == [4, 6]
    np.testing.assert_allclose(list(mine.values()), [other[step] for step in mine], rtol=1e-6)
    mine, other = _tensors(workdir, 6), _tensors(undisturbed, 6)
    assert mine.keys() == other.keys()
    for name, tensor in other.items():  # whole numbers (step, place in the data) are equal
        np.testing.assert_allclose(mine[name], tensor, rtol=1e-5, atol=1e-7, err_msg=name)


def _tensors(workdir, step):
    """{name: array} of a checkpoint, without the count of how often this run has saved."""
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"ckpt-{step}"))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return {name: reader.get_tensor(name) for name in names if not name.startswith("save_counter")}


def test_a_run_whose_input_an_accelerator_finishes_takes_the_same_path(data, undisturbed, tmp_path, capsys):
    """Here on a CPU, and from where a run without one was."""
    workdir = _as_it_was(undisturbed, 4, tmp_path / "run")
    _train(workdir, [*data, "InputPipeline.finish_on = 'accelerator'"])
    assert "; the accelerator does the rest (InputPipeline.finish_on = 'accelerator')" in capsys.readouterr().out
    mine, other = runs.losses(workdir), runs.losses(undisturbed)
    assert list(mine) == [6, 8]
    # Of single pixels the rounding is another one, and it grows from step to step; other clips differ by some per cent.
    np.testing.assert_allclose(mine[6], other[6], rtol=5e-4)
    np.testing.assert_allclose(mine[8], other[8], rtol=5e-3)


def test_two_replicas_read_the_same_clips_and_take_the_same_steps(data, undisturbed, tmp_path):
    workdir = _as_it_was(undisturbed, 4, tmp_path / "run")
    config.parse(["gin/fac.gin"], data)
    train(str(workdir), toy.mirrored(2))
    mine, other = runs.losses(workdir), runs.losses(undisturbed)
    assert list(mine) == [6, 8]
    # Rounding grows from step to step in a network this small, with Adam; the first steps show that all is the same.
    np.testing.assert_allclose(mine[6], other[6], rtol=1e-5)
    np.testing.assert_allclose(mine[8], other[8], rtol=1e-4)


def test_a_run_in_bfloat16_with_micro_batches_and_a_probe(data, undisturbed, tmp_path):
    held_out = data[0].removeprefix("TRAIN_DATA = ")
    more = [
        "train.precision = 'mixed_bfloat16'",
        "VideoInput.jit_compile = True",  # as for users
        "InputPipeline.finish_on = 'accelerator'",
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
    logged = [(v.tag, e.step) for e in runs.events(tmp_path) for v in e.summary.value]
    assert sorted(step for tag, step in logged if tag == "probe/knn/audio") == [0, 4]  # the untrained network, too
    assert ("clips", 0) in logged  # finished, as those of the steps are
    assert (tmp_path / "checkpoints" / "kept" / "ckpt-4.index").exists()
    loaded = workdirs.load(str(tmp_path)).model
    assert {v.dtype for v in loaded.variables} == {"float32"} and loaded.backbones["video"].compute_dtype == "float32"


def test_init_writes_the_untrained_network(data, undisturbed, tmp_path):
    """Which is the same on two replicas."""
    config.parse(["gin/fac.gin"], data)
    train(str(tmp_path), toy.mirrored(2), mode="init")
    assert workdirs.load(str(tmp_path)).step == 0
    mine, other = _tensors(tmp_path, 0), _tensors(undisturbed, 0)
    assert mine.keys() == other.keys()
    for name, tensor in other.items():
        np.testing.assert_array_equal(mine[name], tensor, err_msg=name)


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
    with pytest.raises(
        ValueError, match=r"after step \d+: shard .*train-00002-of-00004: record \d of 6 cannot be read"
    ):
        _train(tmp_path / "run", bindings)
    for shard in tmp_path.glob("train-*"):
        content = np.frombuffer(shard.read_bytes(), np.uint8).copy()
        content[1000::1000] ^= 1  # of every record
        shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"^shard .*-of-00004: record \d of 6 cannot be read"):
        _train(tmp_path / "another", bindings)  # already when the first clips are shown


def test_a_mistake_on_the_command_line_is_one_line_and_exit_status_2(data, tmp_path):
    process = _process(tmp_path, tmp_path / "run", [*data, "S3D.widht = 2.0"])
    assert process.wait() == 2
    errors = [line for line in process.output().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "widht" in errors[0]
    assert "Traceback" not in process.output()
