import sys

import numpy as np
import pytest

from mmv_tf.searching import engines
from mmv_tf.searching.engines import two_stage
from mmv_tf.searching.engines.two_stage import Engine


def _vectors(number, dim, seed=0, clusters=None):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(number, dim)).astype(np.float32)
    if clusters:
        # As windows of videos are: about a few directions, which fewer numbers describe.
        centres = random.normal(size=(clusters, 24)) @ random.normal(size=(24, dim))
        rows = 0.3 * rows + centres[random.integers(clusters, size=number)].astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("sizes", [(50,), (20, 0, 30), (1,) * 7])
def test_few_rows_are_compared_exactly(sizes):
    vectors = _vectors(sum(sizes), 16)
    made = Engine(np.split(vectors, np.cumsum(sizes)[:-1]))
    query = np.random.default_rng(1).normal(size=16)
    found = made.search(query, 5)
    scores = vectors.astype(np.float64) @ (query / np.linalg.norm(query))
    assert found.is_exact and found.rows.tolist() == np.argsort(-scores)[:5].tolist()
    np.testing.assert_allclose(found.scores, np.sort(scores)[::-1][:5], atol=1e-5)
    np.testing.assert_allclose(made.rows([3, 0]), vectors[[3, 0]].astype(np.float32))


def test_rows_that_are_not_allowed_are_not_found():
    made = Engine([_vectors(40, 8)])
    allowed = np.zeros(40, bool)
    allowed[[7, 9]] = True
    assert set(made.search(np.ones(8), 10, allowed).rows) == {7, 9}
    assert len(Engine([]).search(np.ones(8), 5).rows) == 0


@pytest.mark.parametrize("name", ["numpy", "faiss"])
def test_many_rows_are_found_in_two_stages(monkeypatch, name):
    monkeypatch.setattr(two_stage, "EXACT_BELOW", 5_000)
    vectors = _vectors(8_000, 128, clusters=300)
    is_live = np.arange(8_000) % 50 > 0
    made, right = _opened(name, [vectors[:3_000], vectors[3_000:]], is_live), 0
    queries, full = _vectors(20, 128, seed=0, clusters=300).astype(np.float32), vectors.astype(np.float32)
    for query in queries:
        found = made.search(query, 10)
        assert not found.is_exact and np.all(np.diff(found.scores) <= 0) and is_live[found.rows].all()
        scores = full @ query
        np.testing.assert_allclose(found.scores[:10], scores[found.rows[:10]], atol=2e-3)
        right += len(set(found.rows[:10]) & set(np.argsort(np.where(is_live, -scores, 9))[:10]))
    assert right >= 0.99 * 200
    assert len(found.sample) == 7_840 and abs(found.sample.mean() - scores[is_live].mean()) < 0.02
    allowed = np.zeros(8_000, bool)
    allowed[5:10] = True
    assert sorted(made.search(queries[0], 10, allowed).rows) == [5, 6, 7, 8, 9]


def _opened(name, parts, is_live):
    return engines.opened({"engine": name}, ("video", "va"), parts, np.arange(len(is_live)), is_live, None)


def test_engines_that_cannot_be_had_are_one_line(monkeypatch):
    settings = engines.settings
    assert settings(None, None, None) == {"engine": "numpy", "uri": "", "collections": ""}
    made = settings("milvus", "http://there:19530", None)
    assert made["engine"] == "milvus" and made["collections"].startswith("mmv_tf_")
    assert settings(None, None, made) == made  # what an index has stays
    assert settings(None, "http://now:1", made) == made | {"uri": "http://now:1"}
    for arguments, message in (
        (("scann", None, None), "--engine scann: there are numpy, faiss, milvus"),
        (("faiss", None, {"engine": "numpy"}), "--engine faiss: this index was made with numpy; leave --engine out"),
        (("milvus", None, None), "--engine milvus needs --uri"),
        ((None, "x.db", None), "--uri belongs to --engine milvus, and the engine is numpy"),
        (("milvus", "http://me:secret@there:1", None), "--uri with a password in it: give user:password"),
    ):
        with pytest.raises(ValueError, match=message):
            settings(*arguments)
    for name, package, module in (("faiss", "faiss-cpu", "with_faiss"), ("milvus", "pymilvus", "with_milvus")):
        monkeypatch.delitem(sys.modules, f"mmv_tf.searching.engines.{module}", raising=False)
        monkeypatch.delattr(engines, module, raising=False)
        monkeypatch.setitem(sys.modules, {"faiss": "faiss", "milvus": "pymilvus"}[name], None)
        with pytest.raises(ValueError, match=rf"--engine {name} needs {package}: pip install 'mmv_tf\[{name}\]'"):
            settings(name, "x.db" if name == "milvus" else None, None)
