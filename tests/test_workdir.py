"""What a checkpoint holds, and what a workdir gives back."""

import graphs
import numpy as np
import pytest
import tensorflow as tf
import toy

from mmv_tf import workdir as workdirs


def _saved(folder):
    model, step = toy.mmv(graphs.fac()), tf.Variable(7, dtype=tf.int64)
    model.train_step(toy.batch(6))
    return model, workdirs.make_checkpoint(model, step, model.optimizer).save(str(folder / "ckpt"))


def test_a_checkpoint_holds_every_weight_moving_average_and_slot(tmp_path):
    model, path = _saved(tmp_path)
    other, step = toy.mmv(graphs.fac(), seed=1), tf.Variable(0, dtype=tf.int64)
    workdirs.restore(workdirs.make_checkpoint(other, step, other.optimizer), path)
    assert step == 7
    for name, variable in model.named_variables().items():
        np.testing.assert_array_equal(variable, other.named_variables()[name], err_msg=name)
    for mine, restored in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine, restored)
    assert model.optimizer.iterations == 1


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _, path = _saved(tmp_path)
    other = toy.mmv(graphs.disjoint())
    with pytest.raises(ValueError, match="does not fit the configured model"):
        workdirs.restore(workdirs.make_checkpoint(other, tf.Variable(0, dtype=tf.int64)), path)


def test_a_folder_that_is_no_workdir_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} is not a workdir: it has no config.gin"):
        workdirs.load(str(tmp_path))


def test_a_changed_configuration_is_told(tmp_path):
    assert workdirs.write_config(str(tmp_path), "a = 1\nb = 2\n") == []
    assert workdirs.write_config(str(tmp_path), "a = 1\nb = 3\n") == ["-b = 2", "+b = 3"]
    assert (tmp_path / "config.gin").read_text() == "a = 1\nb = 3\n"
