"""Modules from elsewhere: what their graphs may not do is seen before they are loaded."""

import pytest
import tensorflow as tf

from helpers import tiny_export
from mmv_tf import evaluate
from mmv_tf.export import embed, lite, module_files


@pytest.fixture
def evil(tmp_path):
    """A module whose signature writes a file, deep inside: in a branch of a function of a function."""
    mark = str(tmp_path / "mark")

    @tf.function
    def inner(x):
        if tf.reduce_sum(x) > -1:
            tf.io.write_file(mark, tf.io.read_file("/etc/hostname"))
        return x

    module = tf.Module()
    spec = tf.TensorSpec([None, None, None, None, 3], tf.float32, "frames")
    module.video = tf.function(lambda frames: {"va": inner(tf.reduce_mean(frames, [1, 2, 3]))}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "evil"), signatures={"video": module.video})
    return tmp_path / "evil"


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (evaluate.cli, ["--gin_file=gin/evals/ucf101.gin", "--output={out}/x.json"]),
        (lite.cli, ["--output={out}"]),  # which wants a configuration first
        (embed.cli, ["--videos={out}", "--output={out}"]),
    ],
)
def test_it_is_refused_unless_it_is_asked_for(evil, main, flags, tmp_path, capsys):
    (evil / "assets.extra").mkdir()
    (evil / "assets.extra/config.gin").write_text("")
    given = [f"--module={evil}", *(flag.format(out=tmp_path) for flag in flags)]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert "evil holds operations that read or write files or run code: ReadFile, WriteFile." in said
    assert "--allow_file_operations" in said and not (tmp_path / "mark").exists()


def test_it_can_be_allowed_and_ours_hold_none(evil, capsys):
    ours = str(tiny_export.export().module)
    capsys.readouterr()
    module_files.check_operations(str(evil), allowed=True)
    assert "ReadFile, WriteFile" in capsys.readouterr().out
    module_files.check_operations(ours)
    assert capsys.readouterr().out == ""


def test_what_is_no_module_is_named(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 50)
    with pytest.raises(ValueError, match="saved_model.pb cannot be read"):
        module_files.check_operations(str(tmp_path))
