"""Stages: what is run, what is not run again, what an interruption leaves."""

import dataclasses
import json
import pathlib
import signal
import subprocess
import sys

import pytest

from demo.stages import Runner, Stage, StageError, shown, with_includes

# Appends to a log, writes its output, and fails if the file 'fail' is there.
_PROGRAM = """
import pathlib, sys
log, out = map(pathlib.Path, sys.argv[1:3])
log.write_text((log.read_text() if log.exists() else "") + out.name + " ")
out.write_text((out.read_text() if out.exists() else "") + "x")
sys.exit(3 if (log.parent / "fail").exists() else 0)
"""


@pytest.fixture
def job(tmp_path):
    """run(settings) runs two stages, a then b; log() says which commands ran."""
    given = tmp_path / "given.txt"
    given.write_text("1")

    def stage(name, *more, **options):
        command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "log"), str(tmp_path / name), *more]
        return Stage(name, "does a thing", command, **options)

    def run(*more, goes_on=False, facts=()):
        runner = Runner(tmp_path / "state", 2)
        first = {"outputs": [tmp_path / "a"], "inputs": [given], "facts": list(facts), "goes_on": goes_on}
        return [runner.run(stage("a", *more, **first)), runner.run(stage("b", outputs=[tmp_path / "b"]))]

    run.log = lambda: (tmp_path / "log").read_text().split() if (tmp_path / "log").exists() else []
    run.given, run.folder = given, tmp_path
    return run


def test_a_complete_stage_is_not_run_again(job, capsys):
    assert job() == [True, True]
    assert job() == [False, False]
    assert job.log() == ["a", "b"]
    printed = capsys.readouterr().out
    assert "[1/2] a: does a thing" in printed and "$ " in printed and "done before, in" in printed


@pytest.mark.parametrize("change", ["command", "facts", "input"])
def test_what_changed_is_run_again_with_all_behind_it(job, change):
    job()
    if change == "input":
        job.given.write_text("2")
    assert job(*(["--more"] if change == "command" else []), facts=["f"] if change == "facts" else []) == [True, True]
    assert (job.folder / "a").read_text() == "x", "the stale output should have gone first"


def test_a_lost_output_is_made_again(job):
    job()
    (job.folder / "b").unlink()
    assert job() == [False, True]


@pytest.mark.parametrize(("goes_on", "left"), [(True, "xx"), (False, "x")])
def test_a_failed_stage_is_named_and_run_again_on_what_it_left(job, goes_on, left):
    (job.folder / "fail").touch()
    with pytest.raises(StageError, match="a failed with exit status 3"):
        job(goes_on=goes_on)
    assert json.loads((job.folder / "state" / "a.json").read_text())["done"] is False
    (job.folder / "fail").unlink()
    assert job(goes_on=goes_on) == [True, True]
    assert (job.folder / "a").read_text() == left


def test_a_command_that_writes_nothing_is_an_error(tmp_path):
    nothing = Stage("a", "does nothing", [sys.executable, "-c", ""], outputs=[tmp_path / "a"])
    with pytest.raises(StageError, match="did not write .*a"):
        Runner(tmp_path, 1).run(nothing)


def test_includes_of_gin_files_are_followed(tmp_path):
    (tmp_path / "gin").mkdir()
    (tmp_path / "gin/a.gin").write_text("include 'gin/b.gin'\n# include 'gin/d.gin'\nx = 1\ninclude \"gin/c.gin\"\n")
    (tmp_path / "gin/b.gin").write_text("include 'gin/c.gin'\n")
    (tmp_path / "gin/c.gin").write_text("")
    found = with_includes(tmp_path / "gin/a.gin", tmp_path)
    assert [path.name for path in found] == ["a.gin", "b.gin", "c.gin"]


def test_commands_are_shown_as_they_are_typed():
    assert (
        shown(["python", "--gin_param=A='b c'", "x y", "a$'b"]) == """python "--gin_param=A='b c'" 'x y' 'a$'"'"'b'"""
    )


def test_a_check_runs_nothing_and_wants_the_same_settings(job):
    stage = Stage("a", "does a thing", [sys.executable, "-c", "pass"], outputs=[job.folder / "a"], facts=["1"])
    state = job.folder / "state"
    with pytest.raises(StageError, match="a of does a thing is not done"):
        Runner(state, 1).check(stage)
    (job.folder / "a").write_text("made")
    stage = dataclasses.replace(stage, outputs=[], expected=[job.folder / "a"])
    Runner(state, 1).run(stage)
    Runner(state, 1).check(stage)
    with pytest.raises(StageError, match="other settings"):
        Runner(state, 1).check(dataclasses.replace(stage, facts=["2"]))
    (job.folder / "a").unlink()
    with pytest.raises(StageError, match="not done"):
        Runner(state, 1).check(stage)


_TWO_AT_ONCE = """
import concurrent.futures, pathlib, sys
from demo.stages import Runner, Stage, one_line_errors
folder = pathlib.Path(sys.argv[1])
def run(name):
    code = "import os, time; os.write(1, b'%d\\\\n' % os.getpid()); time.sleep(30)"  # in one piece
    Runner(folder / name, 1).run(Stage("long", name, [sys.executable, "-c", code]))
with one_line_errors(), concurrent.futures.ThreadPoolExecutor(2) as pool:
    list(pool.map(run, "ab"))
"""


def test_a_plain_kill_ends_the_stages_that_run_in_other_threads(tmp_path):
    command = [sys.executable, "-c", _TWO_AT_ONCE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        children = []
        for line in parent.stdout:
            children += [int(line)] if line.strip().isdigit() else []
            if len(children) == 2:
                break
        parent.send_signal(signal.SIGTERM)
        _, said = parent.communicate()
    assert (parent.returncode, "interrupted; the same command goes on from here" in said) == (1, True), said
    assert not any(pathlib.Path(f"/proc/{child}").exists() for child in children)
    assert json.loads((tmp_path / "a" / "long.json").read_text())["done"] is False
