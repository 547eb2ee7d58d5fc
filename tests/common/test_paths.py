"""Paths as people write them: `~`, and names that libraries would take for patterns."""

import argparse
import os

import pytest

from mmv_tf.common import command, paths


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", ["fac[lr=0.1]", "a*b", "why?", "x]", "back\\slash", "~/runs/[1]"])
def test_what_would_not_be_found_again_is_refused(name):
    with pytest.raises(ValueError, match=r"--workdir '.*' holds '.*pattern.*take a name without"):
        paths.plain(name, "--workdir")
    with pytest.raises(argparse.ArgumentTypeError):
        paths.argument(name)


def test_all_else_is_a_name(tmp_path):
    for name in ("runs/fac", "lr=0.1, {a} (b) é 🎬 #%&$'\"", "gs://bucket/runs", "~elsewhere~/x"):
        assert paths.plain(name) == name
    assert paths.plain("~/runs/fac") == str(tmp_path / "home/runs/fac")


def test_a_tilde_in_an_option_is_the_home_of_the_user(tmp_path):
    parser = command.parser("x", "x", "x")
    parser.add_argument("--workdir", type=paths.argument)
    parser.add_argument("--results", action="append")
    parser.add_argument("--rate", type=float)
    args = parser.parse_args(["--workdir=~/w", "--results", "~/r", "--results=a~b", "--rate=0.1"])
    assert args.workdir == str(tmp_path / "home/w") and args.results == [str(tmp_path / "home/r"), "a~b"]
    assert args.rate == 0.1


def test_a_folder_with_brackets_is_a_folder(tmp_path):
    for folder in ("my[1]", "my1", "what*?"):
        (tmp_path / folder).mkdir()
    for folder in ("my[1]", "what*?"):
        for name in ("train-0", "train-1", "test-0"):
            (tmp_path / folder / name).touch()
        found = paths.matching(tmp_path / folder / "train-*")
        assert found == [str(tmp_path / folder / f"train-{n}") for n in (0, 1)]
        assert paths.matching(tmp_path / folder / "train-1") == [str(tmp_path / folder / "train-1")]
    (tmp_path / "my1/train-7").touch()
    assert paths.matching(tmp_path / "my[1]" / "train-*") == [str(tmp_path / "my1/train-7")]  # a pattern comes first
    assert paths.matching(tmp_path / "none[1]" / "*") == []
    for slashes in ("//", "///"):
        assert paths.matching(f"{tmp_path}{slashes}my1{slashes}train-*") == [str(tmp_path / "my1/train-7")]
        assert paths.matching(f"{tmp_path}/what*?{slashes}test-*") == [str(tmp_path / "what*?/test-0")]
    (tmp_path / "home").mkdir()
    (tmp_path / "home/a").touch()
    assert paths.matching("~/*") == [os.path.join(tmp_path, "home/a")]


def test_a_tilde_in_a_setting_is_the_home_of_the_user_everywhere(tmp_path):
    """gin files are read by no shell."""
    from helpers import record_fixtures
    from mmv_tf.evaluation import protocol
    from mmv_tf.inputs import shards
    from mmv_tf.inputs.text import Tokenizer
    from mmv_tf.inspection import folder

    record_fixtures.write_shards(tmp_path / "home/my[1]", [[record_fixtures.record("a")]])
    (tmp_path / "home/words.txt").write_text("ball\n")
    assert Tokenizer("~/words.txt").words == ("ball",)
    for pattern in ("~/my[1]/train-*", "~//my[1]//train-*", str(tmp_path / "home/my[1]/train-*")):
        assert shards.find(pattern).num_records == 1
    (pattern,) = protocol.split_pattern("~/my[1]", "train", "")
    assert shards.find(pattern).counts == (1,) and protocol.label_names("~/my[1]") == protocol.label_names(
        str(tmp_path / "home/my[1]")
    )
    assert list(folder.read("~/my[1]").shards("train")) == ["train-00000-of-00001"]
