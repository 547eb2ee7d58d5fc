"""The search in an index beside a bare product with all vectors: time, recall, opening, appending, deleting, memory.

    python benchmarks/search_speed.py --rows 1000000
    python benchmarks/search_speed.py --rows 1000000 --engine faiss                    # beside NumPy's, in turns
    python benchmarks/search_speed.py --index my.index --modality video --space va     # vectors that are there

Made-up rows are windows of videos: each video has a few scenes, a window is a scene with noise, and scenes lie about
24 directions of 512. Asked with are windows of videos that are not in it ('unseen'), and of such as are, with noise
('near'). Ratios are of the same process, in turns.

Results, on two busy cores: see docs/search.md.
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mmv_tf.searching import engines  # noqa: E402
from mmv_tf.searching.store import File, Store, Window  # noqa: E402

DIM, DIRECTIONS, WINDOWS_A_VIDEO, SCENES = 512, 24, 100, 8


def made_up(number, seed):
    """Unit vectors float16 [number, DIM] of windows."""
    basis = np.random.default_rng(0).normal(size=(DIRECTIONS, DIM)).astype(np.float32)  # the same for all
    random, parts = np.random.default_rng(seed), []
    for _ in range(0, number, WINDOWS_A_VIDEO * 1000):
        videos = min(1000, -(-number // WINDOWS_A_VIDEO))
        scenes = random.normal(size=(videos, SCENES, DIRECTIONS)).astype(np.float32) @ basis
        scenes += 2.0 * random.normal(size=scenes.shape).astype(np.float32)
        chosen = random.integers(SCENES, size=(videos, WINDOWS_A_VIDEO))
        rows = scenes[np.arange(videos)[:, None], chosen].reshape(-1, DIM)
        rows += 1.5 * random.normal(size=rows.shape).astype(np.float32)
        parts.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16))
    return np.concatenate(parts)[:number]


def _times(function, number=15):
    times = []
    for _ in range(number):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def compare(vectors, asked, name):
    """Prints times and recalls of an engine over the rows; `asked`: {name: unit vectors}."""
    began = time.perf_counter()
    is_live = np.ones(len(vectors), bool)
    engine = engines.opened({"engine": name}, ("video", "va"), [vectors], np.arange(len(vectors)), is_live, None)
    print(f"{len(vectors):,} x {vectors.shape[1]}, {name}: opened in {time.perf_counter() - began:.2f} s")
    full = vectors.astype(np.float32)
    query = asked["unseen"][0].astype(np.float32)
    product, scan = [], []
    for _ in range(5):  # in turns
        product.append(_times(lambda: full @ query, 3))
        scan.append(_times(lambda: engine.search(query, 1000), 3))
    found = engine.search(query, 1000)
    print(
        f"  bare product {1e3 * np.median(product):.1f} ms, search {1e3 * np.median(scan):.1f} ms: "
        f"ratio {np.median(scan) / np.median(product):.2f}; exact: {found.is_exact}"
    )
    for kind, queries in asked.items():
        right = 0
        for one in queries.astype(np.float32):
            best = np.argpartition(-(full @ one), 10)[:10]
            right += len(set(best) & set(engine.search(one, 1000).rows[:10]))
        print(f"  recall@10 {kind}: {right / (10 * len(queries)):.4f}")


_OPENED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from mmv_tf.searching.index import Index
from mmv_tf.searching.store import Store
class Embedder:
    common_space = lambda self, query, target: "va" if target == "video" else None
    was_trained = lambda self, query, target: True
def memory():
    lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Rss"))
    return np.array([int(lines[name].split()[0]) for name in ("RssAnon", "RssFile")]) / 1e6
before, began = memory(), time.perf_counter()
index = Index(Store(sys.argv[2]), Embedder())
query = {"video": {"va": np.random.default_rng(0).normal(size=512)}}
index.query(vectors=query, within="video")
opened, times = time.perf_counter() - began, []
for _ in range(15):
    began = time.perf_counter()
    index.query(vectors=query, within="video")
    times.append(time.perf_counter() - began)
own, mapped = memory() - before
print(f"  opened and asked once in {opened:.2f} s, then {1e3 * np.median(times):.0f} ms a question; "
      f"{own:.2f} GB of its own, {mapped:.2f} GB mapped from files")
"""


def change(rows, name):
    """Prints how long it takes to add and to delete a thousand windows of an index of `rows`, and how it opens."""
    with tempfile.TemporaryDirectory() as folder:
        more = {"queries": ["video"]} | engines.settings(name, None, None)
        store = Store(folder, {"module": "m", "root": "/", "seconds": 2.0}, more)
        vectors = made_up(10_000, 9).astype(np.float32)

        def file(number, windows):
            some = [
                Window(float(n), n + 2.0, False, False, b"", {("video", "va"): vectors[(number + n) % len(vectors)]})
                for n in range(windows)
            ]
            return File(f"f{number}", 1, 1, f"{number}", 9.0, "", True, "video", some)

        for number in range(0, rows, 10_000):
            store.put([file(number, 10_000)])
        began = time.perf_counter()
        store.put([file(rows + 1, 1000)])
        added = time.perf_counter() - began
        began = time.perf_counter()
        store.put([], [f"f{rows + 1}"])
        print(f"  at {rows:,} windows: 1,000 added in {added:.2f} s, deleted in {time.perf_counter() - began:.2f} s")
        store.tidy()
        for _ in range(2):  # the first time, and once more
            subprocess.run([sys.executable, "-c", _OPENED, str(ROOT), folder], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--engine", choices=("numpy", "faiss"), default="numpy")
    parser.add_argument("--index", help="an index whose vectors are taken")
    parser.add_argument("--modality", default="video")
    parser.add_argument("--space", default="va")
    args = parser.parse_args()
    random = np.random.default_rng(5)
    if args.index:
        parts = [v for key, _, v in Store(args.index).segments() if key == (args.modality, args.space)]
        vectors = np.concatenate(parts)
        held_out = random.choice(len(vectors), min(args.queries, len(vectors) // 10), replace=False)
        unseen, vectors = vectors[held_out], np.delete(vectors, held_out, axis=0)
    else:
        vectors, unseen = made_up(args.rows, 1), made_up(args.queries, 2)
    near = vectors[random.choice(len(vectors), args.queries)].astype(np.float32)
    near += 0.1 / np.sqrt(near.shape[1]) * random.normal(size=near.shape).astype(np.float32)
    compare(vectors, {"unseen": unseen, "near": near / np.linalg.norm(near, axis=1, keepdims=True)}, args.engine)
    if not args.index:
        change(args.rows, args.engine)
    print(f"  at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB, the float32 copy included")


if __name__ == "__main__":
    main()
