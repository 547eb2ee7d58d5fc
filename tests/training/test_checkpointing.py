"""Checkpoints: which ones stay, that they bring everything back, and what a failing write leaves."""

import resource
import signal

import numpy as np
import orbit
import pytest
import tensorflow as tf

from helpers import graphs, processes, toy
from mmv_tf.training import strategies
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.checkpointing import Checkpoints

STRATEGY = tf.distribute.get_strategy()


def _run(workdir, seed=0, model=None, **options):
    """A toy model at step 0 and its checkpoints."""
    model = model or toy.mmv(graphs.fac(), seed=seed)
    step = orbit.utils.create_global_step()
    options = {"every": 2, "keep": 2, **options}
    return model, step, Checkpoints(str(workdir), model, model.optimizer, step, strategy=STRATEGY, **options)


def _advance(step, checkpoints, to):
    """Loops of one step."""
    while int(step) < to:
        step.assign_add(1)
        checkpoints({"total_loss": 1.0})


def _steps(folder):
    """The steps of the checkpoint files in a folder, and those that its `checkpoint` file lists."""
    files = sorted(int(path.stem.split("-")[1]) for path in folder.glob("ckpt-*.index"))
    listed = tf.train.get_checkpoint_state(str(folder)).all_model_checkpoint_paths
    assert files == [int(path.rsplit("-")[-1]) for path in listed]
    return files


@pytest.fixture(scope="module")
def model():
    return toy.mmv(graphs.fac())


def _state(optimizer):
    return [variable for variable in optimizer.variables if variable is not optimizer._learning_rate]


def test_everything_comes_back(tmp_path):
    trained, step, checkpoints = _run(tmp_path, seed=1)
    assert not checkpoints.restore()
    for number, variable in enumerate([*trained.variables, *trained.optimizer.variables]):
        variable.assign(np.random.RandomState(number).uniform(high=9, size=variable.shape))
    step.assign(5)
    checkpoints.save()
    other, step, checkpoints = _run(tmp_path, seed=2)
    assert checkpoints.restore() and int(step) == 5
    for got, expected in zip(other.variables, trained.variables, strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=got.path)
    # But for the learning rate: it is a setting, and the configured one counts.
    for got, expected in zip(*(_state(m.optimizer) for m in (other, trained)), strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=got.path)


def test_the_newest_stay_and_those_to_keep_for_ever_survive_restarts(model, tmp_path):
    _, step, checkpoints = _run(tmp_path, model=model, keep_every=4)
    checkpoints.restore()
    checkpoints.save()
    _advance(step, checkpoints, 7)
    assert _steps(tmp_path / "checkpoints") == [4, 6]
    _, step, checkpoints = _run(tmp_path, model=model, keep_every=4)
    assert checkpoints.restore() and int(step) == 6
    _advance(step, checkpoints, 17)
    assert _steps(tmp_path / "checkpoints") == [14, 16]
    assert _steps(tmp_path / "checkpoints" / "kept") == [4, 8, 12, 16]
    assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")).endswith("checkpoints/ckpt-16")
    kept = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "kept" / "ckpt-4"))
    assert kept.get_tensor("step/.ATTRIBUTES/VARIABLE_VALUE") == 4


def test_a_run_that_was_stopped_between_two_checkpoints_goes_on_saving(model, tmp_path):
    """After a stop at step 3, loops of 2 steps never meet a multiple of 4."""
    _, step, checkpoints = _run(tmp_path, model=model, every=4)
    step.assign(3)
    checkpoints.save()
    for reached in (5, 7, 9):
        step.assign(reached)
        checkpoints()
    assert _steps(tmp_path / "checkpoints") == [5, 9]


def test_a_step_is_written_once(model, tmp_path):
    _, step, checkpoints = _run(tmp_path, model=model)
    checkpoints.save()
    written = (tmp_path / "checkpoints" / "ckpt-0.index").stat().st_mtime_ns
    _, step, checkpoints = _run(tmp_path, model=model)
    checkpoints.restore()
    checkpoints.save()
    assert (tmp_path / "checkpoints" / "ckpt-0.index").stat().st_mtime_ns == written


def test_weights_without_an_optimiser_begin_a_run(tmp_path):
    imported, step, _ = _run(tmp_path, seed=1)
    manager = tf.train.CheckpointManager(
        workdirs.make_checkpoint(imported, step), str(tmp_path / "checkpoints"), max_to_keep=1
    )
    manager.save(checkpoint_number=0)
    model, step, checkpoints = _run(tmp_path, seed=2)
    assert checkpoints.restore() and int(step) == 0
    for got, expected in zip(model.variables, imported.variables, strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=got.path)
    _advance(step, checkpoints, 2)
    assert workdirs.holds_optimizer(str(tmp_path / "checkpoints" / "ckpt-2"))


def test_leftovers_of_killed_writes_are_removed(model, tmp_path):
    _, step, checkpoints = _run(tmp_path, model=model)
    checkpoints.save()
    leftover = tmp_path / "checkpoints" / "ckpt-2_temp"
    leftover.mkdir()
    (leftover / "part-00000-of-00001.data-00000-of-00001").write_text("half")
    (tmp_path / "checkpoints" / "checkpoint.tmp0123").write_text("half")
    _, step, checkpoints = _run(tmp_path, model=model)
    checkpoints.restore()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "checkpoint",
        "ckpt-0.data-00000-of-00001",
        "ckpt-0.index",
    ]


@pytest.mark.parametrize("options", [{"every": 0}, {"keep": 0}, {"every": 4, "keep_every": 6}])
def test_settings_out_of_range(model, tmp_path, options):
    with pytest.raises(ValueError, match="positive|keep_every = 6 must be a multiple"):
        _run(tmp_path, model=model, **options)


def test_processes_that_do_not_share_a_folder(model, tmp_path, monkeypatch):
    _, _, checkpoints = _run(tmp_path, model=model)
    monkeypatch.setattr(strategies, "everyone", lambda strategy, step: [4, step])
    with pytest.raises(ValueError, match=r"restored the steps \[4, -1\].*--workdir must be a folder that all of them"):
        checkpoints.restore()


def test_all_processes_stop_where_one_cannot_write(model, tmp_path, monkeypatch):
    _, _, checkpoints = _run(tmp_path, model=model)
    monkeypatch.setattr(strategies, "is_chief", lambda strategy: False)
    monkeypatch.setattr(strategies, "everyone", lambda strategy, failed: [1, failed])
    with pytest.raises(OSError, match="could not be written to .*see the error of the first process"):
        checkpoints.save()
    assert not (tmp_path / "checkpoints").exists()


def _write_to_a_full_disk(folder):
    """Below so many bytes a file every write fails, as on a full disk: for a process of its own."""
    _, step, checkpoints = _run(folder)
    checkpoints.save()
    step.assign(2)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        checkpoints()
    except OSError as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(message)
    _, step, checkpoints = _run(folder)
    assert checkpoints.restore() and int(step) == 0
    step.assign(4)
    checkpoints()


def test_a_failing_write_is_one_clear_line_and_the_checkpoint_before_stays(tmp_path):
    process = processes.Process(tmp_path / "log.txt", _write_to_a_full_disk, tmp_path)
    assert process.wait() == 0, process.output()
    folder = tmp_path / "checkpoints"
    message = process.output().splitlines()[-1]
    assert message.startswith(f"The checkpoint of step 2 could not be written to {folder}: ")
    assert message.endswith("; the checkpoint of step 0 is whole, and the same command goes on from there.")
    assert "File too large" in message and "{{" not in message
    assert _steps(folder) == [0, 4]
