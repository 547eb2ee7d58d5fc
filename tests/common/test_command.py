"""The one way in which commands end, and how they read values."""

import errno
import logging
import os
import signal

import pytest
import tensorflow as tf

from mmv_tf import inspect
from mmv_tf.beam import options as run_options
from mmv_tf.common import command, config, files


def _ended(error, capsys):
    def main(argv):
        raise error

    status = command.run(main)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    return status, printed


def test_errors_of_tensorflow_about_files_are_one_line(capsys, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(tf.errors.OpError) as caught:
        tf.io.gfile.makedirs(str(tmp_path / "file/folder"))
    assert _ended(tf.errors.PermissionDeniedError(None, None, "/ro/x; Read-only file system"), capsys)[0] == 2
    full = tf.errors.UnknownError(None, None, "/x; No space left on device")
    assert _ended(full, capsys) == (2, "error: /x; No space left on device\n")
    with pytest.raises(tf.errors.InvalidArgumentError):  # of a graph: a fault of the program
        command.run(lambda argv: tf.raw_ops.Add(x=tf.zeros([2]), y=tf.zeros([3])))
    with pytest.raises(ZeroDivisionError):
        command.run(lambda argv: 1 / 0)
    del caught


def test_what_a_loss_says_in_a_step_is_said_as_it_is(capsys):
    """AutoGraph tells errors again with all code on the way; one of a class that it does not know, as another class."""

    class OfGin(ValueError):
        pass

    def step(kind):
        for _ in tf.range(2):
            raise kind("use another loss")

    for kind in (OfGin, ValueError):
        assert command.run(lambda argv, kind=kind: tf.function(step)(kind)) == 2
        assert capsys.readouterr().err == "error: use another loss\n"


def test_what_imports_warn_of_is_not_for_those_who_run_a_command(caplog):
    def main(argv):
        logging.warning("no package for a cloud")
        logging.error("a fault")

    before = logging.getLogger().level
    assert command.run(main) == 0
    assert caplog.messages == ["a fault"] and logging.getLogger().level == before


def test_a_line_is_bounded(capsys):
    assert len(_ended(ValueError("x" * 10**6), capsys)[1]) < 3000


def test_stopped_from_outside(capsys):
    before = signal.getsignal(signal.SIGTERM)
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
    try:
        assert command.run(lambda argv: os.kill(os.getpid(), signal.SIGINT)) == 130
    finally:
        signal.signal(signal.SIGINT, ours)
    capsys.readouterr()
    assert command.run(lambda argv: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert capsys.readouterr().err.startswith("stopped; ") and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["--key", "-0RWZT-miFs.mp4:0-3"], ["-0RWZT-miFs.mp4:0-3"]),
        (["--key", "--x7Bq.mp4:0-3"], ["--x7Bq.mp4:0-3"]),
        (["--key=-0R", "--key", "-1S", "--split", "test"], ["-0R", "-1S"]),
        (["--split", "-s", "--key", "a"], ["a"]),
    ],
)
def test_values_that_begin_with_a_dash(arguments, keys):
    assert inspect._parser().parse_args(["show", "records", *arguments]).key == keys


@pytest.mark.parametrize("arguments", [["--key"], ["--key", "--split", "x"], ["--key", "--outptu", "x"]])
def test_an_option_is_no_value(arguments, capsys):
    with pytest.raises(SystemExit):
        inspect._parser().parse_args(["show", "records", *arguments])
    assert "argument --key: expected one argument" in capsys.readouterr().err


def test_what_is_behind_a_page_of_beam():
    page = "Traceback (most recent call last):\n  File x\nOSError: [Errno 28] No space left on device\n\nDuring ...\n"
    last = "RuntimeError: OSError: [Errno 28] No space left on device [while running 'DecodeSource']\n"
    with pytest.raises(OSError, match=r"^out: \[Errno 28\] No space left on device; what is finished is kept: mend"):
        run_options._explain(RuntimeError(page + last), "out")
    with pytest.raises(ValueError, match="^train-0: two clips of the same key: a: b$"):
        run_options._explain(RuntimeError(page + "ValueError: train-0: two clips of the same key: a: b"), "out")
    with pytest.raises(OSError, match="out: .*Read-only"):
        run_options._explain(OSError(errno.EROFS, "Read-only file system"), "out")
    assert run_options._explain(RuntimeError(page + "ZeroDivisionError: division by zero"), "out") is None


def test_a_file_that_cannot_be_written_is_called_by_its_own_name(tmp_path):
    with pytest.raises(OSError) as caught:
        files.write_text(tmp_path / "missing/x.html", "x")
    assert caught.value.filename == str(tmp_path / "missing/x.html")


def test_a_gin_file_finds_what_it_includes_beside_it(tmp_path, monkeypatch):
    (tmp_path / "sub/deep").mkdir(parents=True)
    (tmp_path / "sub/my.gin").write_text("include 'base.gin'\ntrain.batch_size = 4\n")
    (tmp_path / "sub/base.gin").write_text("include 'gin/fac.gin'\n  include \"deep/more.gin\"  # and more\n")
    (tmp_path / "sub/deep/more.gin").write_text("train.steps = 7\n")
    (tmp_path / "base.gin").write_text("train.nothing = 1\n")  # of another folder
    monkeypatch.chdir(tmp_path)
    config.parse(["sub/my.gin"])
    import gin

    assert gin.query_parameter("train.steps") == 7 and gin.query_parameter("train.batch_size") == 4


def test_what_is_waited_for_is_said_before_and_how_long_after(capsys):
    with command.waiting_for("compiling"):
        assert capsys.readouterr().out == "compiling ... "
    assert float(capsys.readouterr().out.removesuffix(" s\n")) >= 0
    with pytest.raises(KeyError), command.waiting_for("compiling"):
        raise KeyError("x")
    assert capsys.readouterr().out == "compiling ... stopped\n"
