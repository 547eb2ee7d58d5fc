"""mmv_tf and its commands: what they say of themselves, how soon, and how they end."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from mmv_tf import __main__ as mmv_tf
from mmv_tf import __version__
from mmv_tf.common import command

ROOT = pathlib.Path(__file__).parents[2]
HEAVY = {"tensorflow", "keras", "apache_beam", "av", "cv2", "sklearn", "scipy", "pyarrow"}


@pytest.fixture(scope="module")
def helps():
    """{command: (exit status, its help, heavy modules that it imported, seconds of processor time)}: one process."""
    code = f"""
import contextlib, io, sys, time
from mmv_tf import __main__ as mmv_tf
for name in mmv_tf.COMMANDS:
    text, status, began = io.StringIO(), None, time.process_time()
    with contextlib.redirect_stdout(text):
        try: status = mmv_tf.cli([name, "--help"])
        except SystemExit as end: status = end.code
    print(repr((name, status, text.getvalue(), sorted({HEAVY!r} & set(sys.modules)), time.process_time() - began)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = map(eval, done.stdout.splitlines())
    return {name: rest for name, *rest in found}


@pytest.mark.parametrize("name", mmv_tf.COMMANDS)
def test_help_is_there_at_once_and_says_what_comes_next(helps, name):
    status, text, heavy, seconds = helps[name]
    assert status == 0 and text.startswith(f"usage: mmv_tf {name} ")
    assert heavy == [], "an import that takes seconds, for a help"
    assert seconds < 0.7
    afterwards = text.partition("afterwards:\n")[2]
    following = re.findall(r"mmv_tf ([\w-]+) ", afterwards)
    assert following and set(following) <= set(mmv_tf.COMMANDS) - {name}
    for file in (files := re.findall(r"gin/[\w/]+\.gin", text)):
        assert (ROOT / file).is_file(), file
    assert files, "no gin file is named"


def test_without_a_command_all_are_listed_in_the_order_of_the_work(capsys):
    assert mmv_tf.cli([]) == 0
    assert re.findall(r"^  ([a-z-]+)  ", capsys.readouterr().out, re.M) == list(mmv_tf.COMMANDS)
    assert mmv_tf.cli(["--version"]) == 0 and capsys.readouterr().out == f"{__version__}\n"


def test_a_mistyped_command(capsys):
    assert mmv_tf.cli(["trian"]) == 2
    assert capsys.readouterr().err == "error: no command 'trian'; did you mean train?\n"


@pytest.mark.parametrize("name", mmv_tf.COMMANDS)
def test_a_mistyped_option_is_one_line_for_all(name, capsys):
    with pytest.raises(SystemExit) as caught:
        mmv_tf.cli([name, *(["verify"] if name == "inspect" else []), "--no_such_option"])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count("\n") == 1
    assert error.startswith("error: ") and f"see mmv_tf {name}" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["preprocess", "--videos=nowhere", "--output={here}/out"],
        ["vocabulary", "--records=nowhere", "--from_card", "--output={here}/out"],
        ["inspect", "verify", "nowhere"],
        ["graph", "--gin_file=nowhere.gin"],
        ["train", "--gin_file=gin/fac.gin", "--gin_param=S3D.widht = 1", "--workdir={here}/run"],
        ["deflate", "--workdir=nowhere"],
        ["evaluate", "--workdir=nowhere", "--gin_file=gin/evals/ucf101.gin"],
        ["report", "--results=nowhere"],
        ["export", "--workdir=nowhere", "--output={here}/out"],
        ["lite", "--module=nowhere", "--output={here}/out"],
        ["embed", "--module=nowhere", "--images=.", "--output={here}/out"],
        ["serving", "--module=nowhere"],
        ["from-deepmind", "--checkpoint=nowhere", "--output={here}/out"],
        ["from-vatt", "--checkpoint=nowhere", "--output={here}/out"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_a_person_can_mend_is_one_line_for_all(arguments, tmp_path, capsys):
    assert mmv_tf.cli([argument.format(here=tmp_path) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert "nowhere" in error or "widht" in error


def test_an_error_is_folded_into_a_line_and_its_traceback_can_be_had(capsys, monkeypatch):
    def fail(argv):
        raise ValueError(f"{argv}\n  is wrong\n  In call to configurable 'x'")

    assert command.run(fail, "this") == 2
    assert capsys.readouterr().err == "error: this is wrong\n"
    monkeypatch.setenv(command.TRACEBACK, "1")
    assert command.run(fail, "this") == 2
    assert "in fail" in capsys.readouterr().err


def test_a_fault_of_the_program_is_no_line():
    def fail(argv):
        raise TypeError("ours")

    with pytest.raises(TypeError):
        command.run(fail)


def test_ctrl_c_is_a_line(capsys):
    def stop(argv):
        raise KeyboardInterrupt

    assert command.run(stop) == 130
    assert capsys.readouterr().err.startswith("stopped; ")


def test_the_status_of_a_command_is_kept():
    assert [command.run(lambda status: status, status) for status in (None, 0, 1)] == [0, 0, 1]


def test_every_module_of_a_command_ends_the_same_way():
    for one in mmv_tf.COMMANDS.values():
        module = importlib.import_module(one.module)
        assert module.cli.__module__ == "mmv_tf.beam.vocabulary" or "command.run(main, argv)" in pathlib.Path(
            module.__file__
        ).read_text("utf-8")
