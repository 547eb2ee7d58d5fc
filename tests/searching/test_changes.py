"""Files that come, change, move and go in any order: what is found is what a comparison with all of them finds."""

import os
import types

import numpy as np
import pytest

from mmv_tf.searching import engines, indexing
from mmv_tf.searching.index import Index
from mmv_tf.searching.store import Store, Window

DIM = 6


def _vectors(content):
    """The vectors of the windows of a file, by what it holds."""
    random = np.random.default_rng(int(content))
    return random.normal(size=(1 + int(content) % 4, DIM)).astype(np.float32)


class _Embedder:
    """As an Embedder, for files that hold a number."""

    targets, decoding = ("video",), types.SimpleNamespace(max_file_bytes=1 << 20)

    def embed(self, inputs):
        return [{("video", "va"): vector} for vector in inputs]

    def common_space(self, query, target):
        return "va" if target == "video" else None

    def was_trained(self, query, target):
        return True


def _decoded(embedder, client, root, path):
    vectors = _vectors(open(os.path.join(root, path)).read())
    windows = [Window(3.0 * n, 3.0 * n + 2, False, False, b"jpeg", {}) for n in range(len(vectors))]
    yield list(zip(windows, vectors, strict=True))
    yield "video", True, ""


# By hand: MMV_TF_CHANGES=200. The other engines see what the index itself does anyway, so fewer are enough of them.
@pytest.mark.parametrize(("engine", "steps"), [("numpy", 40), ("faiss", 20), ("milvus", 20)])
def test_changes_against_a_comparison_with_all(tmp_path, monkeypatch, engine, steps):
    steps = int(os.environ.get("MMV_TF_CHANGES", steps))
    monkeypatch.setattr(indexing, "_decoded", _decoded)
    monkeypatch.setattr(indexing, "DecodeClient", lambda settings: types.SimpleNamespace(close=lambda: None))
    videos, random, number = tmp_path / "videos", np.random.default_rng(0), 0
    videos.mkdir()
    made_with = engines.settings(engine, str(tmp_path / "vectors.db") if engine == "milvus" else None, None)
    settings = {"module": "m", "root": str(videos), "seconds": 2.0}
    store = Store(str(tmp_path / "index"), settings, {"queries": ["video"]} | made_with)
    store.mirror = engines.mirror(made_with)
    index, there = Index(store, _Embedder()), {}
    for step in range(steps):
        what = random.choice(["add", "add", "change", "move", "delete"]) if there else "add"
        name = random.choice(sorted(there)) if there else ""
        number += 1
        if what in ("add", "change"):
            name = f"f{number}.mp4" if what == "add" else name
            there[name] = f"{number:09d}"
            (videos / name).write_text(there[name])
            os.utime(videos / name, ns=(number, number))
        elif what == "move":
            there[f"m{number}.mp4"] = there.pop(name)
            os.rename(videos / name, videos / f"m{number}.mp4")
        else:
            del there[name]
            (videos / name).unlink()
        if random.random() < 0.3 or step == steps - 1:
            report = indexing.update(store, _Embedder(), str(videos), progress=False)
            assert report.unreadable == 0 and report.same + report.new + report.changed + report.moved == len(there)
            query = random.normal(size=DIM)
            found = index.query(vectors={"video": {"va": query}}, within="video", k=5, per_file=99)
            every = [
                (float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)), name, 3.0 * n)
                for name, content in there.items()
                for n, vector in enumerate(_vectors(content))
            ]
            right = [one[1:] for one in sorted(every, reverse=True)[:5]]
            assert [(hit.file, hit.start) for hit in found.hits] == right, step
            assert found.total == len(every)
