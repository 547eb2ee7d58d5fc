import numpy as np
import pytest

from mmv_tf.searching import engine
from mmv_tf.searching.engine import Engine


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


def test_many_rows_are_found_in_two_stages(monkeypatch):
    monkeypatch.setattr(engine, "EXACT_BELOW", 5_000)
    vectors = _vectors(20_000, 256, clusters=300)
    made, right = Engine([vectors[:9_000], vectors[9_000:]]), 0
    queries = _vectors(40, 256, seed=0, clusters=300)
    for query in queries.astype(np.float32):
        found = made.search(query, 10)
        assert not found.is_exact and np.all(np.diff(found.scores) <= 0)
        scores = vectors.astype(np.float32) @ query
        np.testing.assert_allclose(found.scores[:10], scores[found.rows[:10]], atol=2e-3)
        right += len(set(found.rows[:10]) & set(np.argsort(-scores)[:10]))
    assert right >= 0.99 * 400
