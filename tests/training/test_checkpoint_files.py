"""Which checkpoint of a folder is the newest, where a copy has lost some of its files."""

import os
import shutil

import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.training import checkpoint_files
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.checkpointing import Checkpoints


@pytest.fixture
def folder(tmp_path):
    """With ckpt-0, ckpt-4, ckpt-6 and ckpt-10 of one variable."""
    value = tf.Variable(0)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(value=value), str(tmp_path / "checkpoints"), max_to_keep=9)
    for step in (0, 4, 6, 10):
        value.assign(step)
        manager.save(checkpoint_number=step)
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("name", ["memory/audio/va", "memory/audio/va.2", "table/va.S2", "a..b/.S/x.", "./S", "v a"])
def test_names_are_those_that_tensorflow_wrote(name, tmp_path):
    path = tf.train.Checkpoint(kept={name: tf.Variable(1.0), "more": tf.Variable(2.0)}).save(str(tmp_path / "ckpt"))
    (key,) = [key for key, _ in tf.train.list_variables(path) if key.startswith("kept/") and "/more/" not in key]
    assert key == f"kept/{checkpoint_files.key_of(name)}{checkpoint_files.VALUE}"
    assert checkpoint_files.name_of(checkpoint_files.key_of(name)) == name


def _newest(folder):
    said = []
    path = checkpoint_files.newest(str(folder), said.append)
    return path and path.removeprefix(f"{folder}/"), said


def test_the_file_checkpoint_says_which_is_the_newest(folder, tmp_path):
    assert _newest(folder) == ("ckpt-10", [])
    tf.compat.v1.train.update_checkpoint_state(
        str(folder), str(folder / "ckpt-6")
    )  # as a process leaves it that is killed
    assert _newest(folder) == ("ckpt-6", [])
    assert _newest(tmp_path / "nothing") == (None, []) and _newest(tmp_path) == (None, [])


@pytest.mark.parametrize("loss", ["gone", "empty", "garbage", "of another"])
def test_without_it_the_newest_whole_one_is_and_a_line_says_so(folder, loss):
    pointer = folder / "checkpoint"
    if loss == "gone":
        pointer.unlink()
    else:
        content = {"empty": b"", "garbage": b"\xff{{{", "of another": b'model_checkpoint_path: "ckpt-12"\n'}[loss]
        pointer.write_bytes(content)
    path, (line,) = _newest(folder)
    assert path == "ckpt-10" and "the newest whole checkpoint is ckpt-10" in line
    (folder / "ckpt-10.data-00000-of-00001").unlink()
    assert _newest(folder)[0] == "ckpt-6"
    checkpoint_files.repair(str(folder), str(folder / "ckpt-6"))
    assert _newest(folder) == ("ckpt-6", [])
    listed = tf.train.get_checkpoint_state(str(folder)).all_model_checkpoint_paths
    assert [path.rsplit("/")[-1] for path in listed] == ["ckpt-0", "ckpt-4", "ckpt-6"]


@pytest.mark.parametrize(("ending", "size"), [("index", 0), ("data-00000-of-00001", 0), ("data-00000-of-00001", 2)])
def test_a_file_that_was_cut_short_is_told(folder, ending, size):
    os.truncate(folder / f"ckpt-10.{ending}", size)
    with pytest.raises(ValueError, match=r"ckpt-10 is damaged \(.*\): copy its files again, or take them away"):
        checkpoint_files.restore(tf.train.Checkpoint(value=tf.Variable(0)), str(folder / "ckpt-10"))


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
def test_a_part_of_the_newest_that_is_missing_is_named(folder, ending):
    (folder / f"ckpt-10.{ending}").unlink()
    advice = rf"ckpt-10 is not whole: ckpt-10.{ending} is missing. .* remove ckpt-10.\* to go on from ckpt-6, which is"
    with pytest.raises(ValueError, match=advice):
        _newest(folder)
    for path in folder.glob("ckpt-10.*"):
        path.unlink()
    assert _newest(folder)[0] == "ckpt-6"


def test_a_shard_of_several_that_is_missing_is_named(folder):
    for part in (0, 1, 3):
        shutil.copy(folder / "ckpt-10.data-00000-of-00001", folder / f"ckpt-10.data-{part:05d}-of-00004")
    (folder / "ckpt-10.data-00000-of-00001").unlink()
    with pytest.raises(ValueError, match="ckpt-10.data-00002-of-00004 is missing"):
        _newest(folder)


def test_nothing_whole_is_no_beginning(folder):
    for path in [*folder.glob("*.index"), folder / "checkpoint"]:
        path.unlink()
    with pytest.raises(
        ValueError, match=r"holds no whole checkpoint: ckpt-10.index is missing. Copy it again, or remove"
    ):
        _newest(folder)
    for path in [*folder.glob("ckpt-10*"), *folder.glob("ckpt-4*"), *folder.glob("ckpt-6*")]:
        path.unlink()
    assert _newest(folder) == (None, [])  # of step 0: a process that was killed in its first moment


def test_a_run_goes_on_counts_on_and_is_read_without_the_file_checkpoint(tmp_path, capsys):
    def run():
        model, step = toy.mmv(graphs.fac()), tf.Variable(0, dtype=tf.int64)
        strategy = tf.distribute.get_strategy()
        return step, Checkpoints(tmp_path, model, model.optimizer, step, every=2, keep=2, strategy=strategy)

    step, checkpoints = run()
    for number in (2, 4):
        step.assign(number)
        checkpoints.save()
    (tmp_path / "checkpoints/checkpoint").unlink()
    step, checkpoints = run()
    assert checkpoints.restore() and int(step) == 4
    assert capsys.readouterr().out.count("the newest whole checkpoint is ckpt-4") == 1
    step.assign(6)
    checkpoints.save()
    assert sorted(path.stem for path in (tmp_path / "checkpoints").glob("*.index")) == ["ckpt-4", "ckpt-6"]
    (tmp_path / "checkpoints/checkpoint").unlink()
    model = toy.mmv(graphs.fac(), seed=1)
    workdirs.initialise(model, str(tmp_path))
    assert "the newest whole checkpoint is ckpt-6" in capsys.readouterr().out
