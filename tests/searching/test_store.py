import contextlib
import ctypes
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from mmv_tf.searching.engines import two_stage
from mmv_tf.searching.store import File, Store, Window

SETTINGS = {"module": "m", "root": "/videos", "seconds": 2.0}


def _file(path, number=3, seed=0, **changes):
    random = np.random.default_rng(seed)
    windows = [
        Window(float(n), n + 2.0, False, False, b"jpeg", {("video", "va"): random.normal(size=4).astype(np.float32)})
        for n in range(number)
    ]
    values = dict(path=path, size=1, changed=2, content=path, seconds=9.0, reason="", plays=True, kind="video")
    return File(**values | changes, windows=windows, narrations=[(0.0, 1.0, f"words of {path}")])


def _ids(store):
    live = {number for (number,) in store.rows("SELECT id FROM windows")}
    stored = [ids for _, ids, _ in store.segments()]
    return live, set(np.concatenate(stored).tolist()) if stored else set()


def test_files_are_put_changed_moved_and_removed(tmp_path):
    store = Store(str(tmp_path / "i"), SETTINGS, {"queries": ["text"]})
    before = store.generation
    store.put([_file("a"), _file("b", 2)])
    assert store.generation == before + 1 and _ids(store) == ({1, 2, 3, 4, 5},) * 2
    for (modality, space), ids, vectors in store.segments():
        assert (modality, space, len(ids), vectors.shape, vectors.dtype) == ("video", "va", 5, (5, 4), np.float16)
        np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1.0, atol=1e-3)
    store.put([_file("a", 1, seed=1)])
    store.move("b", "c", 7)
    live, stored = _ids(store)
    assert live == {4, 5, 6} and stored == {1, 2, 3, 4, 5, 6}  # numbers are never given twice
    assert store.rows("SELECT path, changed FROM files ORDER BY path") == [("a", 2), ("c", 7)]
    found = "SELECT text FROM narrations WHERE id IN (SELECT narration FROM words WHERE word = ?)"
    assert store.rows(found, "a") == [("words of a",)] and len(store.rows(found, "words")) == 2
    store.put([], ["a", "c"])
    assert _ids(store)[0] == set() and store.rows(found, "words") == []
    store.tidy()
    assert _ids(store) == (set(), set()) and os.listdir(tmp_path / "i/segments") == []


def test_the_first_stage_of_many_rows_is_kept_and_made_again_where_it_does_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(two_stage, "EXACT_BELOW", 10)
    monkeypatch.setattr(two_stage, "COARSE", 2)
    store = Store(str(tmp_path), SETTINGS)
    for number in range(3):
        store.put([_file(f"f{number}", 5, seed=number)])

    def scores():
        parts = [vectors for _, _, vectors in store.segments()]
        return two_stage.Engine(parts, None, store.first_stage(("video", "va"))).search(np.ones(4), 3).sample

    first = scores()
    kept = sorted(path.name for path in (tmp_path / "segments").iterdir() if ".first-" in path.name)
    assert len(kept) == 3 and (tmp_path / "segments/basis-video.va.npy").exists()
    monkeypatch.setattr(two_stage.FirstStage, "_fitted", None)  # nothing is computed anew
    np.testing.assert_array_equal(scores(), first)
    (tmp_path / "segments" / kept[0]).write_bytes(b"damaged")
    np.testing.assert_allclose(scores(), first, atol=1e-6)
    store.put([_file("f9", 5, seed=9)], ["f0"])
    assert len(scores()) == 20
    store.tidy()
    assert sum(".first-" in path.name for path in (tmp_path / "segments").iterdir()) == 4


def test_many_segments_become_one(tmp_path):
    store = Store(str(tmp_path), SETTINGS)
    for number in range(20):
        store.put([_file(f"f{number}", 1, seed=number)])
    rows = np.concatenate([vectors for _, _, vectors in store.segments()])
    store.tidy()
    ((_, ids, vectors),) = store.segments()
    assert ids.tolist() == list(range(1, 21)) and len(os.listdir(tmp_path / "segments")) == 2
    np.testing.assert_allclose(vectors.astype(np.float32), rows.astype(np.float32), atol=1e-3)
    store.tidy()
    assert len(os.listdir(tmp_path / "segments")) == 2


def test_a_batch_that_fails_leaves_all_as_it_was(tmp_path):
    store = Store(str(tmp_path), SETTINGS)
    store.put([_file("a")])
    bad = _file("a", 1)._replace(narrations=[(0.0, 1.0, "good"), (0.0, 1.0, None)])
    with pytest.raises(sqlite3.IntegrityError):
        store.put([_file("b"), bad], ["a"])
    assert store.rows("SELECT path FROM files") == [("a",)] and _ids(store) == ({1, 2, 3},) * 2


def test_what_does_not_fit_or_is_damaged_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="no index; make one with mmv_tf search index"):
        Store(str(tmp_path / "none"))
    Store(str(tmp_path / "i"), SETTINGS).put([_file("a")])
    with pytest.raises(ValueError, match="was made with module 'm', not 'n'"):
        Store(str(tmp_path / "i"), SETTINGS | {"module": "n"})
    (segment,) = [path for path in (tmp_path / "i/segments").iterdir() if not path.name.endswith(".ids.npy")]
    segment.write_bytes(segment.read_bytes()[:-3])
    with pytest.raises(ValueError, match="a segment is gone or damaged"):
        list(Store(str(tmp_path / "i")).segments())
    (tmp_path / "x").mkdir()
    (tmp_path / "x/index.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match="damaged, or no index"):
        Store(str(tmp_path / "x"))


def test_a_full_disk_is_said_and_is_no_damage(tmp_path):
    store = Store(str(tmp_path / "i"), SETTINGS)
    store.put([_file("a")])
    (pages,) = store.rows("PRAGMA page_count")[0]
    store.database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ValueError, match=r"^\S*index\.sqlite: database or disk is full$"):
        store.put([_file("b", content="x" * 100_000)], ["a"])
    assert store.rows("SELECT path FROM files") == [("a",)]
    with pytest.raises(ValueError, match=r"^\S*index\.sqlite: no such table: gone$"):
        store.rows("SELECT * FROM gone")


@contextlib.contextmanager
def _bound_by_modes():
    """What a folder forbids is forbidden to this thread, also where root runs the tests."""
    library = ctypes.CDLL(None, use_errno=True)
    header, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert library.capget(header, held) == 0
    before, held[0] = held[0], held[0] & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert library.capset(header, held) == 0
    try:
        yield
    finally:
        held[0] = before
        assert library.capset(header, held) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="rights of Linux")
def test_an_index_that_may_not_be_written_can_be_read(tmp_path):
    store = Store(str(tmp_path / "i"), SETTINGS)
    store.put([_file("a")])
    shutil.copytree(tmp_path / "i", tmp_path / "cut off")
    store.close()
    (tmp_path / "cut off/index.sqlite-shm").unlink()
    for folder in ("i", "cut off"):
        (tmp_path / folder).chmod(0o555)
    with _bound_by_modes():
        found = Store(str(tmp_path / "i"))
        assert found.settings == SETTINGS and found.rows("SELECT path FROM files") == [("a",)]
        assert len(list(found.segments())) == 1
        with pytest.raises(ValueError, match="index.sqlite: attempt to write a readonly database"):
            found.move("a", "b", 1)
        with pytest.raises(ValueError, match="index.sqlite-wal: holds changes that were not taken in yet"):
            Store(str(tmp_path / "cut off"))
    found.close()


_WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_store import SETTINGS, _file
from mmv_tf.searching.store import Store
store, number = Store(sys.argv[1], SETTINGS), 0
print("begun", flush=True)
while True:
    number += 1
    store.put([_file(f"f{number}", 3), _file(f"g{number}", 2)], [f"f{number - 3}"])
"""


def test_a_killed_writer_leaves_a_whole_index(tmp_path):
    Store(str(tmp_path), SETTINGS)
    random = np.random.default_rng(0)
    for _ in range(3):
        arguments = [sys.executable, "-c", _WRITER, str(tmp_path), os.path.dirname(__file__)]
        writer = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        writer.stdout.readline()
        try:
            writer.wait(random.uniform(0.05, 0.4))
        except subprocess.TimeoutExpired:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        store = Store(str(tmp_path))
        live, stored = _ids(store)
        assert live <= stored
        of_file = store.rows("SELECT path, COUNT(*) FROM files JOIN windows ON file = files.id GROUP BY files.id")
        assert all(number == (3 if path[0] == "f" else 2) for path, number in of_file)
        store.tidy()
        assert live <= _ids(store)[1]
        store.close()
