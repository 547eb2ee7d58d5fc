"""The starter weights: what is in the archive, that it is the same each time, and what may not be in it."""

import hashlib
import json
import pathlib
import tarfile

import pytest

from demo import starter
from helpers import tiny_export

RESULTS = {"text->video": {"trained": {"R@1": 0.833}, "chance": {"R@1": 0.042}}}


@pytest.fixture
def build(tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    (tmp_path / "vocabulary.txt").write_text("red\nball\n")
    return tmp_path


def test_an_archive_with_its_limits(build, monkeypatch, capsys):
    monkeypatch.setattr(starter, "check", lambda export: None)
    starter.main(["--build", str(build), "--output", str(build / "a")])
    (archive,) = (build / "a").glob("*.tar.gz")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert pathlib.Path(f"{archive}.sha256").read_text() == f"{digest}  {archive.name}\n"
    with tarfile.open(archive) as opened:
        assert opened.getnames() == ["mmv_tf-starter/LIMITS.md", "mmv_tf-starter/saved_model.pb"]
        assert {(one.mtime, one.uid, one.uname) for one in opened.getmembers()} == {(0, 0, "")}
        limits = opened.extractfile("mmv_tf-starter/LIMITS.md").read().decode()
    assert "games, and not the world" in limits and "(2 are in its vocabulary" in limits
    assert "    text->video      83%    4%\n" in limits
    assert digest in capsys.readouterr().out
    starter.main(["--build", str(build), "--output", str(build / "b")])
    assert (build / "b" / archive.name).read_bytes() == archive.read_bytes()


def test_no_folder_of_this_machine_is_in_it(build):
    (build / "export" / "config.gin").write_text(f"TRAIN_DATA = '{pathlib.Path.cwd()}/records/train-*'\n")
    with pytest.raises(ValueError, match="config.gin names .*a folder of this machine"):
        starter.pack(build / "export", "", build / "x.tar.gz")
    assert not (build / "x.tar.gz").exists()


def test_what_is_packed_gives_vectors():
    with tiny_export.loaded_once():
        starter.check(tiny_export.export().module)


def test_without_a_demo_it_says_so(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        starter.main(["--build", str(tmp_path)])
    assert ended.value.code == 2
    assert "has no export, results.json, vocabulary.txt; `make demo` makes it" in capsys.readouterr().err
