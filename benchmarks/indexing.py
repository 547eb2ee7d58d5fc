"""The rate of `mmv_tf search index` beside decoding alone and the network alone, in turns, in one process.

    python benchmarks/indexing.py --videos FOLDER --module EXPORT [--rounds 3]

Decoding alone is what the child processes do, as many side by side as indexing has; the network alone gets inputs that
are there already. The goal is .7 of the slower one's rate.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time

from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.sources import folder as folders
from mmv_tf.common import batches
from mmv_tf.searching import indexing
from mmv_tf.searching.embedder import Embedder
from mmv_tf.searching.store import Store

_KEPT = 64  # windows that the network alone is measured with


def _decode(embedder, paths, counts):
    client = DecodeClient(embedder.decoding)
    for path in paths:
        try:
            counts.append(sum(1 for _ in embedder.windows(client, path)))
        except Failure:
            continue
    client.close()


def decoding(embedder, paths) -> tuple[float, int]:
    """(seconds, windows) of decoding all files."""
    counts, number = [], indexing._PRODUCERS
    threads = [threading.Thread(target=_decode, args=(embedder, paths[n::number], counts)) for n in range(number)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, sum(counts)


def _inputs(embedder, paths):
    client = DecodeClient(embedder.decoding)
    try:
        for path in paths:
            yield from (inputs for _, inputs in embedder.inputs(embedder.windows(client, path)))
    finally:
        client.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    batches.keep_freed_memory()  # as the command does
    embedder = Embedder(args.module)
    paths = [os.path.join(args.videos, path) for path in sorted(folders.media_files(args.videos))]
    embedder.load()
    kept = list(itertools.islice(_inputs(embedder, paths), _KEPT))
    embedder.embed(kept)  # traced
    shares = []
    for _ in range(args.rounds):
        decoded, windows = decoding(embedder, paths)
        started = time.perf_counter()
        embedder.embed(kept)
        network = (time.perf_counter() - started) / len(kept) * windows
        with tempfile.TemporaryDirectory() as folder:
            store = Store(os.path.join(folder, "index"), *indexing.made_with(embedder, args.videos))
            started = time.perf_counter()
            indexing.update(store, embedder, args.videos, progress=False)
            indexed = time.perf_counter() - started
        shares.append(max(decoded, network) / indexed)
        print(
            f"{windows} windows: decoding {decoded:.1f} s, network {network:.1f} s, index {indexed:.1f} s; "
            f"share {shares[-1]:.2f}",
            flush=True,
        )
    print(f"share of the slower one's rate, median: {statistics.median(shares):.2f}")


if __name__ == "__main__":
    main()
