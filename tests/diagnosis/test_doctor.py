"""`mmv_tf doctor`: reasons for a card that is not used, packages, and a text without private paths."""

import getpass
import importlib.metadata
import os
import tempfile

import pytest

from helpers import tiny
from mmv_tf import doctor
from mmv_tf.diagnosis import checkup, device, graphics, machine

CARD = graphics.Driver(("Some Card, 535.1, 24 GiB",), "12.2")
BUILD = {"is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9"}


@pytest.mark.parametrize(
    ("driver", "used", "build", "missing", "environment", "reason"),
    [
        (graphics.Driver(), 0, BUILD, [], {}, ""),
        (CARD, 1, BUILD, [], {}, ""),
        (CARD, 0, BUILD, [], {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' hides cards"),
        (CARD, 0, {"is_cuda_build": False}, [], {}, "was built without CUDA; `pip install"),
        (CARD._replace(cuda="11.8"), 0, BUILD, [], {}, "the driver runs CUDA up to 11.8, TensorFlow"),
        (CARD, 0, BUILD, ["libcudnn.so.9"], {}, "libcudnn.so.9 cannot be opened; `pip install 'tensorflow[and-cuda]'"),
        (CARD, 0, BUILD, [], {}, "TF_CPP_MIN_LOG_LEVEL=0"),
        (graphics.Driver(fault="nvidia-smi ends with status 9: no"), 0, BUILD, [], {}, "nvidia-smi ends with status 9"),
    ],
)  # fmt: skip
def test_why_a_card_is_not_used(driver, used, build, missing, environment, reason):
    found = graphics.why_unused(driver, used, build, missing, environment)
    assert reason in found and bool(found) == bool(reason)


def test_the_driver_is_asked(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" ] && echo "A, 550.2, 16 GiB" || echo "| Version: 550 CUDA Version: 12.4 |"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert graphics.driver() == graphics.Driver(("A, 550.2, 16 GiB",), "12.4")
    program.write_text("#!/bin/sh\necho couldn\\'t communicate with the driver\nexit 9\n")
    assert graphics.driver().fault == "nvidia-smi ends with status 9: couldn't communicate with the driver"


def test_packages_that_are_missing_or_others_are_named(monkeypatch):
    wanted = ["numpy>=99", "nonsense-that-is-not-there>=1", "scipy>=1", "ruff>=99; extra == 'dev'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    (line,) = checkup.packages()
    numpy = importlib.metadata.version("numpy")
    assert line.fault.startswith(f"numpy {numpy} is installed, and >=99 is wanted; nonsense-that-is-not-there is not")
    assert "scipy" in line.value and "ruff" not in line.value


def test_nothing_private_is_in_the_text(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe-private")
    places = f"{os.getcwd()}/records {os.path.expanduser('~')}/films {tempfile.gettempdir()}/x"
    text = f"{places} '/data/secret/train-*' jdoe-private '/data/Jane Doe/her films/b c' or '/x'"
    shown = checkup.without_paths(text)
    assert shown.startswith("WORKING_FOLDER/records ~/films TEMPORARY_FOLDER/x '.../train-*' USER '.../b c' or '/x'")


def test_the_command_says_all_and_what_own_would_choose(tmp_path, capsys):
    tiny.make_records(tmp_path / "records")
    assert doctor.main(["--data", str(tmp_path / "records")]) == 0
    said = capsys.readouterr().out
    for name in ("mmv_tf", "Python", "packages", "TensorFlow", "GPU", "memory", "locks", "matrix product", "decoding"):
        assert f"\n{name} " in f"\n{said}"
    assert "numbers for 24 clips (none held out)" in said and "train.batch_size = 16" in said
    assert "40 frames" in said and said.endswith("nothing wrong\n") and str(tmp_path) not in said


def test_what_is_wrong_is_counted(monkeypatch, capsys):
    monkeypatch.setattr(checkup, "checkup", lambda: [])
    assert doctor.main(["--data", "nothing/train-*"]) == 1
    said = capsys.readouterr().out
    assert "WRONG: no file matches 'nothing/train-*'" in said and "1 thing wrong" in said


def test_a_run_says_its_device_and_which_card_is_not_used(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: (3.0, 8.0))
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(graphics, "look", lambda: (graphics.Driver(), 0, ""))
    assert device.lines(1) == ["device: CPU, 4 cores, 3 of 8 GiB of memory free"]
    monkeypatch.setattr(graphics, "look", lambda: (CARD, 0, "no CUDA in it"))
    assert device.lines(1)[1] == "warning: a GPU is not used: no CUDA in it"
    two = graphics.Driver(("A, 1, 24 GiB", "B, 1, 24 GiB"), "12.2")
    monkeypatch.setattr(graphics, "look", lambda: (two, 2, ""))
    assert device.lines(1) == ["device: A, 1, 24 GiB; B, 1, 24 GiB; 1 of 2 in use"]
