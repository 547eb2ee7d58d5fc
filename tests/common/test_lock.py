import fcntl
import json
import os
import subprocess
import sys

import pytest

from helpers.processes import PATIENCE
from mmv_tf.common import lock

HOLD = """
import sys, time
from mmv_tf.common import lock
with lock.folder(sys.argv[1], "train"):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def _holder(path):
    command = [sys.executable, "-c", HOLD, str(path), str(PATIENCE)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_writer_is_told_who_is_there(tmp_path):
    process = _holder(tmp_path / "runs/fac")
    try:
        with pytest.raises(ValueError, match="runs/fac: in use by `mmv_tf train` ") as caught, _folder(tmp_path):
            pass
        assert f"(process {process.pid} on " in str(caught.value)
        assert json.loads((tmp_path / "runs/fac/.lock").read_text())["pid"] == process.pid  # untouched by the other
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "runs/fac/.lock").exists()  # what a killed process leaves holds nobody up
    with _folder(tmp_path):
        assert json.loads((tmp_path / "runs/fac/.lock").read_text())["pid"] == os.getpid()
        with pytest.raises(ValueError, match=f"process {os.getpid()} on"), _folder(tmp_path):
            pass  # nor two in one process
    assert os.listdir(tmp_path / "runs/fac") == []


def _folder(tmp_path):
    return lock.folder(tmp_path / "runs/fac", "train")


def test_nothing_is_left_of_a_folder_that_nothing_was_written_into(tmp_path):
    with pytest.raises(KeyError), lock.folder(tmp_path / "a/b/c", "train"):
        raise KeyError
    assert os.listdir(tmp_path) == []
    with lock.folder(tmp_path / "a/b", "train"):
        (tmp_path / "a/b/file").touch()
    assert os.listdir(tmp_path / "a/b") == ["file"]


def test_of_a_path_that_is_not_there_yet(tmp_path):
    with lock.beside(tmp_path / "exported/fac", "export"):
        assert os.listdir(tmp_path / "exported") == [".fac.lock"]
        with pytest.raises(ValueError, match="exported/fac: in use"), lock.beside(tmp_path / "exported/fac", "export"):
            pass
    assert os.listdir(tmp_path / "exported") == []


def test_a_file_that_its_holder_deletes_meanwhile_is_no_lock(tmp_path, monkeypatch):
    real, calls = fcntl.flock, []

    def flock(descriptor, how):
        if not calls:  # the holder before us ends between our opening and our locking
            os.unlink(tmp_path / ".lock")
        calls.append(how)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.folder(tmp_path, "train"):
        assert len(calls) == 2 and (tmp_path / ".lock").exists()


def test_no_link_is_followed_and_a_bucket_has_none(tmp_path):
    (tmp_path / "target").write_text("x")
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(ValueError, match="cannot be written"), lock.folder(tmp_path, "train"):
        pass
    assert (tmp_path / "target").read_text() == "x"
    with lock.folder("gs://bucket/x", "train"):
        pass
