import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmv_tf import search
from mmv_tf.searching import exporting
from mmv_tf.searching.store import File, Store, Window

VECTORS = np.float32([[3, 4, 0], [0, 0, 2], [1, 0, 0]])


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "i"), {"module": "m"})
    for path, kind, rows in (("gone.mp4", "video", [0]), ("x/y/ü.mp4", "video", [0, 1]), ("s.wav", "sound", [2])):
        key = ("audio", "va") if kind == "sound" else ("video", "va")
        windows = [Window(float(n), n + 2.5, False, False, b"", {key: VECTORS[n]}) for n in rows]
        store.put([File(path, 1, 7_000_000_000, path, 9.5, "", True, kind, windows)])
    store.put([], ["gone.mp4"])
    store.label([("dog", "x/y/ü.mp4"), ("cat", "x/y/ü.mp4")])
    return store


def test_the_layout_of_vertex(store, tmp_path, capsys):
    arguments = ["export", "--index", str(tmp_path / "i"), "--output", str(tmp_path / "out"), "--form", "vertex"]
    assert search.cli(arguments) == 0
    told = capsys.readouterr().out
    assert "audio-va: 1 vectors\n  video-va: 2 vectors\n" in told and f"{tmp_path / 'out'}: 3 vectors of" in told
    first, second = map(json.loads, (tmp_path / "out/video-va/part-00000.json").read_text("utf-8").splitlines())
    np.testing.assert_allclose(first.pop("embedding"), [0.6, 0.8, 0.0], atol=2e-4)  # kept as half floats
    assert first == {
        "id": "2",
        "restricts": [
            {"namespace": "kind", "allow": ["video"]},
            {"namespace": "folder", "allow": ["x/y", "x"]},
            {"namespace": "label", "allow": ["cat", "dog"]},
        ],
        "numeric_restricts": [
            {"namespace": "start", "value_double": 0.0},
            {"namespace": "seconds", "value_double": 9.5},
            {"namespace": "changed", "value_int": 7},
        ],
    }
    assert (second["id"], second["embedding"]) == ("3", [0.0, 0.0, 1.0])
    moments = [json.loads(line) for line in (tmp_path / "out/moments.jsonl").read_text("utf-8").splitlines()]
    about = {"file": "x/y/ü.mp4", "start": 1.0, "end": 3.5, "kind": "video", "labels": ["cat", "dog"]}
    assert moments[1] == {"id": "3", **about} and [one["id"] for one in moments] == ["2", "3", "4"]
    about = json.loads((tmp_path / "out/export.json").read_text())
    assert about["vectors"] == {"audio-va": 1, "video-va": 2} and about["module"] == "m"
    assert search.cli(arguments) == 2 and "is there already" in capsys.readouterr().err


def test_the_layout_of_milvus_in_several_files(store, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_ROWS_A_FILE", 1)
    monkeypatch.setattr(exporting, "_ROWS_AT_ONCE", 1)
    assert exporting.write(store, str(tmp_path / "out"), "milvus") == {"audio-va": 1, "video-va": 2}
    rows = [row for n in (0, 1) for row in pq.read_table(tmp_path / f"out/video-va/part-0000{n}.parquet").to_pylist()]
    assert [row["id"] for row in rows] == [2, 3] and rows[1]["vector"] == [0.0, 0.0, 1.0]
    assert {name: rows[1][name] for name in ("file", "start", "end", "kind")} == {
        "file": "x/y/ü.mp4", "start": 1.0, "end": 3.5, "kind": "video",
    }  # fmt: skip
    exporting.write(store, str(tmp_path / "v"), "vertex")
    assert len(list((tmp_path / "v/video-va").iterdir())) == 2


def test_a_folder_is_whole_or_not_there(store, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting._WRITERS, "vertex", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exporting.write(store, str(tmp_path / "out"), "vertex")
    store.put([], ["x/y/ü.mp4", "s.wav"])
    with pytest.raises(ValueError, match="no moment in this index to export"):
        exporting.write(store, str(tmp_path / "out"), "milvus")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i"]
