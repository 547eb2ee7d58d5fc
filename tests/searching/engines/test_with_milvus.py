"""Milvus, as milvus-lite: what it holds after kills, and filters of any size."""

import sqlite3

import numpy as np
import pytest

from mmv_tf.searching import engines
from mmv_tf.searching.engines import two_stage, with_milvus
from mmv_tf.searching.store import File, Store, Window

KEY = ("video", "va")


def _file(path, seed, number=3, sound=False, **changes):
    vectors = np.random.default_rng(seed).normal(size=(number, 6)).astype(np.float32)
    keys = (KEY, ("audio", "va")) if sound else (KEY,)
    windows = [Window(float(n), n + 2.0, False, False, b"", dict.fromkeys(keys, v)) for n, v in enumerate(vectors)]
    return File(path, 1, 2, path, 9.0, "", True, "video", windows)._replace(**changes)


@pytest.fixture
def store(tmp_path):
    made_with = engines.settings("milvus", str(tmp_path / "vectors.db"), None)
    store = Store(str(tmp_path / "i"), {"module": "m"}, made_with)
    store.mirror = engines.mirror(made_with)
    yield store
    store.close()


def _held(store, key=KEY):
    name = with_milvus.collection(store.settings["collections"], key)
    there = store.mirror.client.has_collection(name)
    return sorted(row["id"] for row in store.mirror.client.query(name, filter="id >= 0")) if there else []


def test_it_follows_and_what_a_kill_left_is_mended(store, monkeypatch):
    store.put([_file("a", 0, sound=True), _file("b", 1)])
    assert _held(store) == [1, 2, 3, 4, 5, 6] and _held(store, ("audio", "va")) == [1, 2, 3]
    store.put([_file("a", 2, 1)])
    assert _held(store) == [4, 5, 6, 7] and _held(store, ("audio", "va")) == []
    # A batch that fails: its vectors are there, and go with the next look; its numbers are given again.
    with pytest.raises(sqlite3.IntegrityError):
        store.put([_file("c", 3, sound=True, narrations=[(0.0, 1.0, None)])])
    assert _held(store) == [4, 5, 6, 7, 8, 9, 10] and _held(store, ("audio", "va")) == [8, 9, 10]
    store.tidy()
    assert _held(store) == [4, 5, 6, 7] and _held(store, ("audio", "va")) == []
    # Killed between the transaction and the removal; then somebody else emptied the collection.
    monkeypatch.setattr(with_milvus.Mirror, "remove", lambda *arguments: None)
    store.put([], ["b"])
    assert _held(store) == [4, 5, 6, 7]
    monkeypatch.undo()
    store.tidy()
    assert _held(store) == [7]
    store.put([_file("d", 4), _file("e", 5)], ["a"])  # an id of the middle that lacks, one too many
    name = with_milvus.collection(store.settings["collections"], KEY)
    store.mirror.client.delete(name, ids=[9, 10])
    store.mirror.add(KEY, np.array([5, 99]), np.ones((2, 6), np.float32))
    store.mirror.add(KEY, np.array([98]), np.ones((1, 6), np.float32))
    store.tidy()
    assert _held(store) == [8, 9, 10, 11, 12, 13]
    store.mirror.client.drop_collection(with_milvus.collection(store.settings["collections"], KEY))
    store.tidy()
    assert _held(store) == [8, 9, 10, 11, 12, 13]


def test_filters_of_any_size(store, monkeypatch):
    store.put([_file(f"f{n}", n, 10) for n in range(6)])
    ((_, ids, vectors),) = store.segments()
    is_live, query = np.arange(60) != 7, np.random.default_rng(9).normal(size=6)
    made = engines.opened(store.settings, KEY, [vectors], ids, is_live, None)
    scores = vectors.astype(np.float32) @ (query / np.linalg.norm(query))

    def right(allowed):
        return [row for row in np.argsort(-scores) if allowed[row]][:5]

    some = is_live & (np.arange(60) % 3 > 0)
    for few, listed in ((two_stage.SAMPLED, 0), (10, with_milvus._MOST_IDS), (10, 20)):
        monkeypatch.setattr(two_stage, "SAMPLED", few)
        monkeypatch.setattr(with_milvus, "_MOST_IDS", listed)
        for allowed in (None, some):
            found = made.search(query, 5, allowed)
            assert found.rows.tolist() == right(is_live if allowed is None else allowed)
            np.testing.assert_allclose(found.scores, scores[found.rows], atol=1e-6)
    assert len(found.sample) == 59


def test_what_does_not_answer_is_one_line(store):
    with pytest.raises(ValueError, match="^http://127.0.0.1:1: Milvus says: Fail connecting to server"):
        engines.mirror(engines.settings("milvus", "http://127.0.0.1:1", None))
    assert with_milvus.collection("i", ("video", "a-b_c")) == "i_video_a_2d_b_5f_c"
