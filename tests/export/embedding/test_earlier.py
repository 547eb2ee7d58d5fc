"""The embedding job run again: only what is new or changed is read, and a kill leaves one run or the other whole."""

import argparse
import hashlib
import json
import os
import re
import shutil

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers import tiny_export
from mmv_tf.export import embed, module_files
from mmv_tf.export.embedding import earlier, parquet_file
from mmv_tf.export.embedding import inputs as embed_inputs
from mmv_tf.export.embedding import pipeline as embed_pipeline


@pytest.fixture(scope="module")
def one_graph():
    with tiny_export.clips_cut_by_one_graph():
        yield


@pytest.fixture
def read(monkeypatch, one_graph):
    """The names of files that are decoded, of one run after the other."""
    names, read_file = [], embed_inputs.FileReader._read_file
    monkeypatch.setitem(embed_pipeline._modules, str(tiny_export.export().module), tiny_export.module())

    def watched(self, path):
        names.append(path)
        return read_file(self, path)

    monkeypatch.setattr(embed_inputs.FileReader, "_read_file", watched)
    return names


def _picture(path, colour):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), np.full((40, 50, 3), colour, np.uint8))


def _run(root, output, *flags, kind="images"):
    flags = flags or ["--num_shards=3"]
    module = str(tiny_export.export().module)
    arguments = [f"--{kind}", str(root), "--module", module, "--output", str(output), "--direct_num_workers=1"]
    return embed.cli([*arguments, "--spaces=vat", *flags])


def _digests(folder):
    """Of all that is in a folder but the summary, which says where its source is."""
    paths = [path for path in folder.iterdir() if path.is_file() and path.name != earlier.SUMMARY]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _keys(folder):
    return sorted(key for path in folder.glob("*.parquet") for key in pq.read_table(path)["key"].to_pylist())


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(["a.png", "b.png", "sub/c.png", "d.png"]):
        _picture(tmp_path / "in" / name, 40 * number)
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    return tmp_path / "in"


def test_only_what_is_new_or_changed_is_embedded(root, tmp_path, read, capsys, monkeypatch):
    out = tmp_path / "out"
    assert _run(root, out) == 0
    assert sorted(read) == ["a.png", "b.png", "broken.png", "d.png", "sub/c.png"]
    assert f"{out}: 5 new files, 0 changed, 0 gone, 0 as they were" in capsys.readouterr().out
    first, written = _digests(out), (out / "image-vat-00000-of-00003.parquet").stat().st_ino
    read.clear()
    assert _run(root, out) == 0
    told = capsys.readouterr().out
    assert read == [] and _digests(out) == first
    assert f"{out}: 0 new files, 0 changed, 0 gone, 5 as they were" in told and f"{out}: 4 vectors" in told
    assert "rejected: 1 (1 decode_error)" in told  # it is still known why
    assert (out / "image-vat-00000-of-00003.parquet").stat().st_ino == written and not (out / ".staging").exists()
    _picture(root / "b.png", 250)
    _picture(root / "e.png", 99)
    (root / "a.png").unlink()
    _picture(root / "broken.png", 7)
    summary = (out / earlier.SUMMARY).read_text()
    with monkeypatch.context() as patch:  # a run that does not come to its end leaves the earlier one
        patch.setattr(earlier, "commit", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _run(root, out)
    capsys.readouterr(), read.clear()
    assert _digests(out) == first and (out / earlier.SUMMARY).read_text() == summary
    assert _run(root, out) == 0
    assert sorted(read) == ["b.png", "broken.png", "e.png"]
    assert f"{out}: 1 new files, 2 changed, 1 gone, 2 as they were" in capsys.readouterr().out
    assert _keys(out) == ["b.png", "broken.png", "d.png", "e.png", "sub/c.png"]
    assert _run(root, tmp_path / "at_once") == 0
    assert _digests(out) == _digests(tmp_path / "at_once")
    summaries = [json.loads((folder / earlier.SUMMARY).read_text()) for folder in (out, tmp_path / "at_once")]
    assert summaries[0]["files"] == summaries[1]["files"] and summaries[0]["dead_letters"] == {}


def test_the_folder_that_it_runs_in_may_hold_what_is_a_pattern_elsewhere(root, tmp_path, read, capsys, monkeypatch):
    folder = tmp_path / "we ird [1]"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "out").mkdir()
    (folder / "out/video-va-00000-of-00009.parquet").touch()
    for told in ("5 new files, 0 changed", "0 new files, 0 changed"):
        assert _run(root, "out", "--num_shards=1") == 0
        assert f"{folder}/out: {told}" in capsys.readouterr().out
        files = ["dead_letters.jsonl", "embeddings.json", "image-vat-00000-of-00001.parquet", "sources.jsonl"]
        assert sorted(os.listdir("out")) == files
    assert len(read) == 5 and len(_keys(folder / "out")) == 4
    # TensorFlow does look for the variables of a module by a pattern.
    shutil.copytree(tiny_export.export().module, "module")
    assert embed.cli(["--images", str(root), "--module", "module", "--output", "other"]) == 2
    assert f"--module '{folder}/module' holds '[', which TensorFlow" in capsys.readouterr().err
    assert not os.path.exists("other")
    with pytest.raises(ValueError, match="holds '\\[', which TensorFlow"):
        embed_pipeline.load_module(f"{folder}/module")


def test_options_that_choose_nothing_touch_nothing(root, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / earlier.SUMMARY).write_text("{}")
    for option in ("--spaces=,", "--spaces= , ", "--signatures=,"):
        assert _run(root, out, option) == 2
        assert re.fullmatch(r"error: --\w+ '[ ,]+': no name in it; .*\n", capsys.readouterr().err)
    assert [path.name for path in out.iterdir()] == [earlier.SUMMARY]


def test_a_signature_without_the_chosen_spaces_is_said(capsys):
    args = argparse.Namespace(module="m", signatures=None, spaces="va")
    dims = embed._dims(args, "records", module_files.signatures(str(tiny_export.export().module)))
    assert dims == {("video", "va"): 16, ("audio", "va"): 16}
    assert capsys.readouterr().out == "text is left out: it gives before_head, vat, and --spaces is va\n"


def test_names_may_hold_what_else_ends_a_line(tmp_path):
    marks = {f"a{end}b.mp4": [1, 2] for end in ("\u2028", "\u2029", "\x85", "\x1c", "\v")}
    (tmp_path / earlier.SUMMARY).write_text(json.dumps({"files": {}, "made_with": {}}))
    (tmp_path / earlier.SOURCES).write_text(earlier.source_lines(marks, {}))
    letter = {"path": "a\u2028b.mp4", "key": "", "reason": "decode_error", "detail": "\u2029"}
    (tmp_path / earlier.DEAD_LETTERS).write_text(json.dumps(letter, ensure_ascii=False) + "\n")
    kept = earlier.kept(str(tmp_path), {}, marks, in_parts=True)
    assert (kept.why, kept.marks) == ("", marks)
    assert [one.path for one in kept.rejections] == ["a\u2028b.mp4"]
    for name in (earlier.SOURCES, earlier.DEAD_LETTERS):
        (tmp_path / name).write_text("")
    assert earlier.kept(str(tmp_path), {}, marks, in_parts=True)[:2] == ("", {})


def test_what_vectors_depend_on_makes_all_anew(tmp_path):
    made_with, marks = {"module": "m", "--num_shards": 1}, {"a": [1, 2], "b": [3, 4], "c": [5, 6], "d": None}
    files = {"x.parquet": {"rows": 1, "bytes": 3, "sha256": "s"}}

    def write():
        (tmp_path / "x.parquet").write_text("123")
        (tmp_path / earlier.SUMMARY).write_text(json.dumps({"files": files, "made_with": made_with}))
        (tmp_path / earlier.SOURCES).write_text(earlier.source_lines(marks, {"b": {"stream_chosen": 2}}))
        letters = [("b", "stream_chosen"), ("a", "decode_error"), ("c", "timeout")]
        lines = [{"path": path, "key": "", "reason": reason, "detail": ""} for path, reason in letters]
        (tmp_path / earlier.DEAD_LETTERS).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def kept(marks=marks, in_parts=True, **changes):
        return earlier.kept(str(tmp_path), made_with | changes, marks, in_parts)

    assert kept() == earlier.Kept("", {})
    write()
    found = kept()
    assert (found.why, found.marks, found.files) == ("", {"a": [1, 2], "b": [3, 4]}, files)  # a timeout is tried again
    assert (found.gone, found.changed, found.remarked) == (("c",), 1, {"b": {"stream_chosen": 2}})
    assert [one.path for one in found.rejections] == ["a"] and [one.path for one in found.lines] == ["b"]
    found = kept({"a": [1, 9], "e": [1, 1]})
    assert (found.marks, found.gone, found.changed) == ({}, ("a", "b", "c"), 1)
    assert kept(module="n").why == "the earlier vectors are of another module" and kept(module="n").marks == {}
    assert kept(in_parts=False).why == "records have changed"
    boxed = made_with
    made_with = {name: value for name, value in boxed.items() if name != "module"}
    assert kept().why == "the earlier vectors are of another module"  # which this run does not name
    made_with = boxed
    (tmp_path / "x.parquet").write_text("1234")
    assert kept().why == "x.parquet is gone, or was changed since"
    for name in (earlier.SOURCES, earlier.SUMMARY, earlier.DEAD_LETTERS):
        write()
        (tmp_path / name).write_text("{")
        assert "cannot be read" in kept().why and kept().files == {}


def test_records_are_embedded_anew_as_a_whole(tmp_path, read, capsys):
    records, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(tiny_export.export().records, records)
    flags = ["--signatures=text", "--num_shards=1"]
    for told in ("embedded anew", "they are as they were: nothing is embedded", "records have changed; embedded anew"):
        assert _run(records / "train-00000-*", out, *flags, kind="records") == 0
        assert f"{out}: records of 1 shards; {told}" in capsys.readouterr().out
        assert len(_keys(out)) == 5 and "texts_without_known_words" in (out / earlier.SUMMARY).read_text()
        if told.startswith("they"):
            os.utime(next(records.glob("train-00000-*")), ns=(1, 1))


@pytest.mark.parametrize("moved", range(-1, 6))
def test_killed_at_any_moment_it_is_the_earlier_run_or_this_one(tmp_path, monkeypatch, moved):
    """By the moving of files alone, of which `moved` are in place when the process ends."""
    output, staging, rename = str(tmp_path), str(tmp_path / ".staging"), earlier.FileSystems.rename
    names = ["a.parquet", "b.parquet", earlier.SOURCES, earlier.DEAD_LETTERS, earlier.SUMMARY]

    def content():
        return {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}

    os.mkdir(staging)
    for name in [*names, "old.parquet"]:
        (tmp_path / name).write_text("old")
    for name in names:
        open(earlier.ready(staging, name), "w").write("new")
    before, left = content(), [moved + 1]  # the list is moved into place, too

    def killed(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        rename(*arguments)

    monkeypatch.setattr(earlier.FileSystems, "rename", killed)
    after = dict.fromkeys(names, "new")
    if moved < 5:
        with pytest.raises(KeyboardInterrupt):
            earlier.commit(output, staging, names, ["old.parquet"])
        assert content() == before if moved < 0 else earlier.SUMMARY not in content()
    else:
        earlier.commit(output, staging, names, ["old.parquet"])
    monkeypatch.undo()
    assert earlier.finish(output, staging) == (moved >= 0)
    assert content() == (before if moved < 0 else after)
    earlier.finish(output, staging)  # once more, should it be killed before the staging folder goes
    assert content() == (before if moved < 0 else after)


def test_a_file_that_was_changed_is_not_taken_over(tmp_path):
    (tmp_path / "x.parquet").write_text("123")
    with pytest.raises(OSError, match="was changed since it was written; delete embeddings.json"):
        parquet_file.kept(str(tmp_path / "x.parquet"), "0" * 64, set())
