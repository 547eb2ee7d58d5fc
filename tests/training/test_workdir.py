"""What a checkpoint holds, and what a workdir gives back."""

import types

import gin
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.common import config
from mmv_tf.training import workdir as workdirs


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model after one step; the workdir with its checkpoint, and the path of that."""
    model, step, folder = toy.mmv(graphs.fac()), tf.Variable(7, dtype=tf.int64), tmp_path_factory.mktemp("run")
    model.train_step(toy.batch(6))
    checkpoints = folder / workdirs.CHECKPOINTS
    checkpoints.mkdir()
    return model, folder, workdirs.make_checkpoint(model, step, model.optimizer).save(str(checkpoints / "ckpt"))


def test_a_checkpoint_holds_every_weight_moving_average_and_slot(saved):
    model, _, path = saved
    other, step = toy.mmv(graphs.fac(), seed=1), tf.Variable(0, dtype=tf.int64)
    workdirs.restore(workdirs.make_checkpoint(other, step, other.optimizer), path)
    assert step == 7
    for name, variable in model.named_variables().items():
        np.testing.assert_array_equal(variable, other.named_variables()[name], err_msg=name)
    for mine, restored in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine, restored)
    assert model.optimizer.iterations == 1


def test_a_checkpoint_of_another_model_is_refused(saved):
    _, _, path = saved
    other = toy.mmv(graphs.disjoint())
    with pytest.raises(ValueError, match="does not fit the configured model"):
        workdirs.restore(workdirs.make_checkpoint(other, tf.Variable(0, dtype=tf.int64)), path)


def test_a_folder_that_is_no_workdir_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} is not a workdir: it has no config.gin"):
        workdirs.load(str(tmp_path))


def test_a_binding_that_could_mean_several_of_a_configuration_names_them(tmp_path):
    (tmp_path / workdirs.CONFIG).write_text(
        "InputPipeline.sources = [@a/Source(), @b/Source()]\n"
        "a/Source.weight = 1.0\nb/Source.weight = 2.0\na/Source.pattern = 'x'\nb/Source.pattern = 'x'\n"
    )
    with pytest.raises(ValueError) as caught:
        workdirs.load(str(tmp_path), ["Source.weight = 3.0"])
    assert str(caught.value) == (
        "binding 'Source.weight': the configuration that is there has a/Source.weight = 1.0 and b/Source.weight = 2.0: "
        "bind each by its own name"
    )
    file = tmp_path / "more.gin"
    file.write_text("Source.weight = 3.0\nSource.pattern = 'y'\na/Source.weight = 4.0\n")
    workdirs.parse_config(str(tmp_path), ["b/Source.pattern = 'z'"], [str(file)])
    found = {one: [gin.query_parameter(f"{one}/Source.{name}") for name in ("weight", "pattern")] for one in "ab"}
    assert found == {"a": [4.0, "y"], "b": [3.0, "z"]}
    # Scopes in which nothing is made any more have no say.
    own = ["InputPipeline.sources = [@Source()]", "Source.pattern = 'mine'", "Source.weight = 3.0"]
    with config.kept():
        config.parse((), own, foreign=[str(tmp_path / workdirs.CONFIG)], finalize=False)
        assert gin.query_parameter("Source.weight") == 3.0 and gin.query_parameter("a/Source.weight") == 1.0


def test_words_come_from_the_workdir_in_whatever_scope_they_are_read(tmp_path):
    (tmp_path / workdirs.CONFIG).write_text(
        "MMV.backbones = {'text': %TEXT}\nTEXT = @TextNetwork()\nTEXT/TextNetwork.vectors = 'gone.npy'\n"
    )
    (tmp_path / workdirs.VOCABULARY).write_text("word\n")
    workdirs.parse_config(str(tmp_path))
    assert gin.query_parameter("TEXT/TextNetwork.vectors") == gin.query_parameter("TextNetwork.vectors") == ""


def test_a_changed_configuration_is_told(tmp_path):
    assert workdirs.write_config(str(tmp_path), "a = 1\nb = 2\n") == []
    assert workdirs.write_config(str(tmp_path), "a = 1\nb = 3\n") == ["-b = 2", "+b = 3"]
    assert (tmp_path / "config.gin").read_text() == "a = 1\nb = 3\n"


def _initialised(source, parts=()):
    model = toy.mmv(graphs.fac(), seed=1)
    before = {name: np.array(v) for name, v in model.named_variables().items()}
    restored = workdirs.initialise(model, str(source), parts)
    changed = {n for n, v in model.named_variables().items() if not np.array_equal(v, before[n])}
    return model, restored, {name.partition("/")[0] for name in changed}


def test_a_run_can_begin_with_all_weights_of_another_or_with_some_parts(saved):
    source, folder, path = saved
    model, restored, _ = _initialised(folder)
    assert restored == ["video", "audio", "text", *source.heads]
    for name, variable in source.named_variables().items():
        np.testing.assert_array_equal(variable, model.named_variables()[name], err_msg=name)
    assert model.optimizer.iterations == 0
    _, _, changed = _initialised(path, ("video", "va -> vat"))
    assert changed == {"video", "va -> vat"}


def test_the_licence_of_weights_goes_with_them_however_they_are_named(saved, tmp_path, monkeypatch):
    _, folder, path = saved
    (folder / workdirs.WEIGHTS_LICENSE).write_text("of the authors")
    monkeypatch.setenv("HOME", str(folder.parent))
    pipeline = types.SimpleNamespace(save_vocabulary=lambda path: None)
    for number, source in enumerate((str(folder), path, f"~/{folder.name}")):
        workdirs.describe(str(tmp_path / f"{number}"), pipeline, "", source)
        assert (tmp_path / f"{number}" / workdirs.WEIGHTS_LICENSE).read_text() == "of the authors"


def test_initial_weights_that_are_not_there_are_named(saved, tmp_path):
    with pytest.raises(ValueError, match="train.init_from = .* is neither a workdir"):
        _initialised(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="train.init_parts has 'smell'; the model's parts are 'video', 'audio'"):
        _initialised(tmp_path, ("smell",))
    _, _, path = saved
    with pytest.raises(ValueError, match="does not fit"):
        workdirs.initialise(toy.mmv(graphs.disjoint()), path)
