"""What lies beside the videos: captions that change alone, files that cannot even be looked at, tables of labels."""

import os
import types

import numpy as np
import pytest

from mmv_tf import search
from mmv_tf.searching import indexing, labels
from mmv_tf.searching.index import Index
from mmv_tf.searching.selection import Filter
from mmv_tf.searching.store import Store, Window

embedded = []  # paths, in order


class _Embedder:
    targets, decoding = ("video",), types.SimpleNamespace(max_file_bytes=1 << 20)
    folder, queries, checksum, seconds = "m", ["video"], "m", 2.0

    def embed(self, inputs):
        return [{("video", "va"): vector} for vector in inputs]

    def common_space(self, query, target):
        return "va"

    def was_trained(self, query, target):
        return True


def _decoded(embedder, client, root, path):
    embedded.append(path)
    yield [
        (Window(0.0, 2.0, False, False, b"", {}), np.random.default_rng(len(path)).normal(size=3).astype(np.float32))
    ]
    yield "video", True, ""


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "_decoded", _decoded)
    monkeypatch.setattr(indexing, "DecodeClient", lambda settings: types.SimpleNamespace(close=lambda: None))
    (tmp_path / "v/sub").mkdir(parents=True)
    for name in ("a.mp4", "sub/b.mp4"):
        (tmp_path / "v" / name).write_text(name)
    store = Store(str(tmp_path / "i"), *indexing.made_with(_Embedder(), str(tmp_path / "v")))
    yield Index(store, _Embedder())
    store.close()


def _update(index, **options):
    embedded.clear()
    return indexing.update(index.store, _Embedder(), index.store.settings["root"], progress=False, **options)


def _captions(text):
    return f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n"


def _said(index):
    return index.store.rows("SELECT path, text FROM narrations JOIN files f ON f.id = file ORDER BY path")


def test_captions_that_change_alone_are_read_again(index, tmp_path):
    videos = tmp_path / "v"
    assert _update(index)[:2] == (2, 0) and embedded == ["a.mp4", "sub/b.mp4"] and _said(index) == []
    for step, (text, captions) in enumerate([("one two", 1), ("two three", 1), (None, 1), (None, 0)]):
        path = videos / "sub/b.srt"
        path.unlink(missing_ok=True)
        if text:
            path.write_text(_captions(text))
            os.utime(path, ns=(step, step))
        report = _update(index)
        assert (report.captions, report.same, embedded) == (captions, 2, [])
        assert _said(index) == ([("sub/b.mp4", text)] if text else [])
        assert [hit.file for hit in index.query("two").hits] == (["sub/b.mp4"] if text else [])
    (videos / "sub/c.srt").write_text(_captions("of c"))
    _update(index)
    os.rename(videos / "a.mp4", videos / "sub/c.mp4")
    assert _update(index)[2] == 1 and embedded == [] and _said(index) == [("sub/c.mp4", "of c")]


def test_what_is_said_of_captions_is_kept_and_told(index, tmp_path, capsys):
    videos = tmp_path / "v"
    (videos / "a.srt").write_text(_captions("first"))
    (videos / "a.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nsecond\n")
    (videos / "stranger.srt").write_text(_captions("nobody's"))
    (videos / "sub/b.ass").write_text("[Script Info]")
    _update(index)

    def remarks():
        return index.store.rows("SELECT path, reason, detail FROM remarks ORDER BY path")

    assert remarks() == [
        ("a.vtt", "unused_captions", "a.srt is taken for a.mp4"),
        ("stranger.srt", "unused_captions", "no video or sound of this name"),
        ("sub/b.ass", "unused_captions", "not a format that is read: make it .srt or .vtt"),
    ]
    search._tell(index.store)
    assert "captions: 3 x unused_captions (a.vtt: a.srt is taken for a.mp4; ...)" in capsys.readouterr().out
    generation = index.store.generation
    _update(index)
    assert len(remarks()) == 3 and index.store.generation == generation  # nothing is written where nothing has changed
    for name in ("a.vtt", "stranger.srt", "sub/b.ass"):
        (videos / name).unlink()
    _update(index)
    assert remarks() == []


def test_what_cannot_be_looked_at_is_listed(index, tmp_path, monkeypatch):
    videos = tmp_path / "v"
    open(os.fsencode(videos) + b"/caf\xe9.mp4", "wb").close()
    (videos / "gone.mp4").symlink_to(videos / "nowhere")
    (videos / "linked").symlink_to(videos / "sub")
    stat = os.stat
    (videos / "vanished.mp4").write_text("x")

    def vanishing(path, *arguments, **options):
        if str(path).endswith("vanished.mp4"):
            raise FileNotFoundError(2, "No such file or directory")
        return stat(path, *arguments, **options)

    monkeypatch.setattr(indexing.os, "stat", vanishing)
    report = _update(index)
    assert (report.new, report.unreadable, embedded) == (6, 4, ["a.mp4", "sub/b.mp4"])
    assert index.store.rows("SELECT path, reason FROM files WHERE reason != '' ORDER BY path") == [
        ("caf\\xe9.mp4", "bad_row: the name of the file is not valid UTF-8: rename it"),
        ("gone.mp4", "missing_file: No such file or directory"),
        ("linked", "missing_file: a link to a folder is not followed"),
        ("vanished.mp4", "missing_file: No such file or directory"),
    ]
    assert _update(index)[:5] == (0, 0, 0, 0, 6)
    monkeypatch.setattr(indexing.os, "stat", stat)
    assert _update(index).changed == 1 and embedded == ["vanished.mp4"]


def test_what_failed_for_a_reason_of_the_moment_is_tried_again(index, tmp_path, monkeypatch):
    reasons = {"a.mp4": "timeout: 60 s", "sub/b.mp4": "decode_error: no picture"}

    def failing(embedder, client, root, path):
        found = list(_decoded(embedder, client, root, path))
        yield from [("video", False, reasons[path])] if path in reasons else found

    monkeypatch.setattr(indexing, "_decoded", failing)
    first = indexing.Report(new=2, changed=0, moved=0, gone=0, same=0, unreadable=2)
    assert _update(index) == first
    assert _update(index) == first._replace(new=0, same=2) and embedded == ["a.mp4"]
    assert _update(index, again=False) == first._replace(new=0, same=2) and embedded == []
    del reasons["a.mp4"]
    assert _update(index) == first._replace(new=0, same=2, unreadable=1, recovered=1) and embedded == ["a.mp4"]
    assert _update(index) == first._replace(new=0, same=2, unreadable=1) and embedded == []
    assert [hit.file for hit in index.query(vectors={"video": {"va": np.float32([1, 0, 0])}}).hits] == ["a.mp4"]
    # One that is found elsewhere has no vectors that could go with it.
    reasons["a.mp4"] = reasons["c.mp4"] = "crash: of the decoder"
    (tmp_path / "v/a.mp4").write_text("other")
    assert _update(index).changed == 1
    os.rename(tmp_path / "v/a.mp4", tmp_path / "v/c.mp4")
    assert _update(index)[:5] == (1, 0, 0, 1, 1) and embedded == ["c.mp4"]


def test_watching_does_not_try_again_at_every_look(index, tmp_path, monkeypatch):
    tried, now = [], [0.0]

    def update(*arguments, again, **options):
        tried.append((now[0], again))
        return indexing.Report(0, 0, 0, 0, 2, 1)

    def sleep(seconds):
        now[0] += 1000 * seconds
        if len(tried) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(indexing, "update", update)
    monkeypatch.setattr("mmv_tf.searching.embedder.Embedder", lambda *arguments: _Embedder())
    monkeypatch.setattr(search, "time", types.SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    with pytest.raises(KeyboardInterrupt):
        search.main(["index", str(tmp_path / "v"), "--module=m", "--watch", f"--index={tmp_path / 'i'}"])
    assert [time for time, again in tried if again] == [0.0, 4000.0]


def test_labels_are_a_filter(index, tmp_path):
    _update(index)
    table = tmp_path / "labels.csv"
    table.write_text(
        f"file;label\na.mp4;dog\nsub/b.mp4;dog\n{tmp_path}/v/sub/b.mp4;100 %, cat\nnew.mp4;dog\n../x.mp4;y\na.mp4;\n"
    )
    read = labels.take(index.store, str(table), str(tmp_path / "v"))
    assert str(read) == "2 labels of 2 files; 0 files have none"
    assert read.troubles == [
        "line 5: new.mp4: no such file in the index",
        "line 6: ../x.mp4: the path leads out of the root",
        "line 7: a.mp4: a label of 0 characters; 1 to 200 are taken",
    ]
    assert labels.known(index.store) == ["dog", "100 %, cat"]

    def files(label):
        vectors = {"video": {"va": np.float32([1, 0, 0])}}
        return [hit.file for hit in index.query(vectors=vectors, only=Filter(label=label)).hits]

    assert sorted(files("dog")) == ["a.mp4", "sub/b.mp4"] and files("100 %, cat") == ["sub/b.mp4"] and files("d") == []
    (tmp_path / "v/new.mp4").write_text("new")  # it had its label before
    _update(index)
    assert "new.mp4" in files("dog")
    with pytest.raises(ValueError, match="no column label"):
        (tmp_path / "x.csv").write_text("file,tag\na.mp4,dog\n")
        labels.take(index.store, str(tmp_path / "x.csv"), str(tmp_path / "v"))
