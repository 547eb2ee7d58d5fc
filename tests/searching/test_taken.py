"""Vectors of the embedding job as an index."""

import json
import os
import shutil
import types

import numpy as np
import pytest

from helpers import tiny_export
from mmv_tf import search
from mmv_tf.export import embed
from mmv_tf.searching import indexing
from mmv_tf.searching.index import Index
from mmv_tf.searching.store import Store


@pytest.fixture(scope="module")
def embedded(made, tmp_path_factory):
    output = tmp_path_factory.mktemp("embedded")
    arguments = ["--videos", str(made.videos), "--module", str(tiny_export.export().module), "--output", str(output)]
    assert embed.cli([*arguments, "--num_shards=2", "--direct_num_workers=1"]) == 0
    return output


def _index(videos, embedded, folder):
    module = str(tiny_export.export().module)
    return search.cli(["index", str(videos), "--module", module, "--index", str(folder), "--embeddings", str(embedded)])


def test_what_was_embedded_is_found(made, embedded, embedder, tmp_path, capsys):
    assert _index(made.videos, embedded, tmp_path / "i") == 0
    (told,) = capsys.readouterr().out.splitlines()
    assert "the vectors of 3 files are taken; 0 files are not below" in told
    assert told.endswith("; 0 files that the index had are gone")
    store = Store(str(tmp_path / "i"))
    index = Index(store, embedder)
    assert {path for (path,) in store.rows("SELECT path FROM files")} == {"a.mp4", "sound.wav", *_mkv(made)}
    found = index.query(video=made.videos / "a.mp4", span=(2.0, 2.0 + embedder.seconds), within="video", k=1)
    assert found.hits[0].score > 0.99 and found.hits[0].plays == (found.hits[0].file == "a.mp4")
    assert [hit.words for hit in index.query("batter").hits if "words" in hit.matched] == ["Pour the batter"]
    ours = {key: len(ids) for key, ids, _ in made.index.store.segments()}
    assert {key for key, _, _ in store.segments()} == set(ours)
    starts = [
        start for (start,) in store.rows("SELECT start FROM windows JOIN files f ON f.id = file WHERE path = 'a.mp4'")
    ]
    assert np.diff(starts).min() > 0.9 * embedder.seconds  # the job cuts them side by side


def _mkv(made):
    return [path.relative_to(made.videos).as_posix() for path in made.videos.rglob("*.mkv")]


def test_what_has_changed_since_is_no_file_that_was_embedded(made, embedded, embedder, tmp_path, capsys, monkeypatch):
    videos, (mkv,) = shutil.copytree(made.videos, tmp_path / "v"), _mkv(made)
    assert _index(videos, embedded, tmp_path / "i") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1  # copied with their times, they are the same
    before = os.stat(videos / "a.mp4")
    with open(videos / "a.mp4", "ab") as file:
        file.write(b"more")
    os.utime(videos / "sound.wav", ns=(1, 1))
    (videos / mkv).unlink()
    assert _index(videos, embedded, tmp_path / "i") == 0
    told = capsys.readouterr().out.splitlines()
    assert "the vectors of 1 files are taken; 1 files are not below" in told[0]
    assert told[0].endswith("; 1 files that the index had are gone")
    assert told[1].startswith("  left out, since they have changed after they were embedded: 1 files; ")
    assert told[2] == "    a.mp4"
    assert told[3].startswith("  of another time than what was embedded, as copies are: 1 of the files taken; ")
    store = Store(str(tmp_path / "i"), *indexing.made_with(embedder, str(videos)))
    sound = os.stat(made.videos / "sound.wav")
    rows = store.rows("SELECT path, size, changed, content != '' FROM files ORDER BY path")
    assert rows == [
        ("a.mp4", before.st_size, before.st_mtime_ns, 1),
        ("sound.wav", sound.st_size, sound.st_mtime_ns, 0),
    ]
    read = []
    monkeypatch.setattr(indexing, "DecodeClient", lambda settings: types.SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(indexing, "_decoded", lambda *of: [read.append(of[-1]), ("video", True, "")][1:])
    report = indexing.update(store, embedder, str(videos), progress=False)
    assert (report.new, report.changed, report.same) == (1, 2, 0)
    assert sorted(read) == ["a.mp4", "broken.mp4", "sound.wav"]


def test_what_is_not_of_this_index_is_refused_in_a_line(made, embedded, tmp_path, capsys):
    other = shutil.copytree(embedded, tmp_path / "other")
    for change, message in (
        (lambda s: s["module"].update(sha256="0" * 64), "embeddings of the module 000000000000, and the index is of"),
        (lambda s: s.update(source={"records": "x"}), "embeddings of records, and not of videos"),
        (lambda s: s.update(files={"../x.parquet": {}}), "'../x.parquet' is no name of a file of embeddings"),
        (lambda s: s.pop("files"), "no summary of `mmv_tf embed`"),
    ):
        summary = json.loads((embedded / "embeddings.json").read_text())
        change(summary)
        (other / "embeddings.json").write_text(json.dumps(summary))
        assert _index(made.videos, other, tmp_path / "i") == 2
        assert message in capsys.readouterr().err
    shutil.copyfile(embedded / "embeddings.json", other / "embeddings.json")
    next(other.glob("*.parquet")).write_bytes(b"no table")
    assert _index(made.videos, other, tmp_path / "i") == 2
    assert "no table of embeddings" in capsys.readouterr().err
    (other / "sources.jsonl").write_text("[]\n")
    assert _index(made.videos, other, tmp_path / "i") == 2
    assert f"{other}/sources.jsonl: cannot be read (" in capsys.readouterr().err
    (other / "sources.jsonl").unlink()
    assert _index(made.videos, other, tmp_path / "i") == 2
    assert f"{other}/sources.jsonl: not found; it says which files were embedded" in capsys.readouterr().err
