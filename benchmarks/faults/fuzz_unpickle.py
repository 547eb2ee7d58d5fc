"""Mutated and hostile pickles against the reader of released checkpoints: what comes of them, how fast, how large.

    python benchmarks/faults/fuzz_unpickle.py --files 100000

Bars: nothing is executed or imported (an audit hook of the interpreter sees each import, open, exec and process), no
crash, no error but `CheckpointError`, each file in less than a second, less than 1 GiB in all.
"""

import argparse
import collections
import io
import os
import pathlib
import random
import re
import resource
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)

    import numpy as np

    from helpers.hostile_pickles import hostile, mutate, reorder
    from mmv_tf.released import unpickle

    with np.load(ROOT / "tests" / "golden" / "pickles.npz") as arrays:
        good = [arrays[name].tobytes() for name in arrays.files]
    bad = hostile()
    # The files of several hundred KB show nothing more by being mutated, and take most of the time.
    small = [data for data in bad.values() if len(data) < 10_000]
    for data in good:  # also what numpy imports at its first use
        unpickle.parse(io.BytesIO(data), len(data))

    events = collections.Counter()
    sys.addaudithook(lambda event, _: events.update([event]))
    rng = random.Random(args.seed)
    outcomes, reasons = collections.Counter(), collections.Counter()
    slowest, started = (0.0, b""), time.perf_counter()

    def attempt(kind: str, data: bytes):
        nonlocal slowest
        events.clear()
        began = time.process_time()
        try:
            unpickle.parse(io.BytesIO(data), len(data))
            outcome = "read"
        except unpickle.CheckpointError as error:
            outcome = "CheckpointError"
            reasons[re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "*", str(error).split(" (before")[0])] += 1
        except BaseException as error:  # what must not be is counted, and ends the run with an error
            outcome = f"{type(error).__name__}: {error}"
        outcomes[kind, outcome] += 1
        slowest = max(slowest, (time.process_time() - began, data[:80]))
        for event in list(events):
            outcomes[kind, f"the interpreter saw {event}"] += 1

    for data in bad.values():
        attempt("hostile", data)
    for number in range(args.files):
        if number % 5 < 2:
            attempt("bytes changed", mutate(good, rng))
        elif number % 5 < 4:
            attempt("opcodes changed", reorder(good, rng))
        else:
            attempt("hostile, changed", mutate(small, rng))

    print(f"| {'files':16} | {'outcome':40} | {'number':>8} |\n|{'-' * 18}|{'-' * 42}|{'-' * 10}|")
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f"| {kind:16} | {outcome[:40]:40} | {number:8} |")
    print("\nthe most frequent reasons:")
    for reason, number in reasons.most_common(12):
        print(f"  {number:8}  {reason[:100]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nslowest file: {slowest[0]:.3f} s of processor time; peak memory {peak:.0f} MiB; seed {args.seed}")
    print(f"{outcomes.total() / (time.perf_counter() - started):.0f} files/s")
    failures = [o for _, o in outcomes if o not in ("read", "CheckpointError")]
    return 1 if failures or slowest[0] >= 1 or peak > 1024 else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # an audit hook stays until the end, and would count what the interpreter does there
