"""A campaign of hostile videos against the preprocessing: mutated files in every container, and bombs.

    python benchmarks/faults/hostile_videos.py --number 1000 --seed 0

Makes small valid videos (tests/helpers/hostile_videos.py), damages them, adds the bombs, decodes each by itself (time,
memory of the decoding process), and then runs `mmv_tf.beam.preprocess` over the folder. Checked: nothing hangs,
the decoding process never dies, the command ends with 0, accepted + rejected = read, and every file is accepted or has
a reason. Exit status 1 when anything of it does not hold.

Result of the command above, on one core: 1,026 files in 20 s; 0 crashes, 0 hangs; 2,312 clips = 716 accepted + 1,596
rejected; the largest decoding process took 196 MiB.
"""

import argparse
import collections
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers import hostile_videos as hostile  # noqa: E402
from mmv_tf.beam.decoding.client import DecodeClient, Failure  # noqa: E402
from mmv_tf.beam.specs import Settings  # noqa: E402
from mmv_tf.records import reader, tfrecord  # noqa: E402
from mmv_tf.records.card import Reason  # noqa: E402

_CRASHES = {Reason.CRASH.value, Reason.TIMEOUT.value}


def write_campaign(folder, number, seed):
    """Writes the files into a folder. Returns {name: reasons that are right, () for any end but a crash}."""
    random = np.random.default_rng(seed)
    valid_folder = folder / "valid"
    valid_folder.mkdir()
    valid = hostile.write_valid(valid_folder)
    expected = hostile.write_bombs(folder, valid[0])
    suffixes = sorted({path.suffix for path in valid})
    for n in range(number):
        source = valid[random.integers(len(valid))]
        kind, data = hostile.mutate(source.read_bytes(), random)
        suffix = random.choice(suffixes) if random.random() < 0.1 else source.suffix  # now and then a wrong one
        suffix = suffix.replace("m2v", "mpg")  # --videos takes no file of the name
        name = f"{n:05d}-{kind}-{source.stem}{suffix}"
        (folder / name).write_bytes(data)
        expected[name] = ()
    return expected


def decode_each(folder, names, settings):
    """Decodes every file. Returns ({name: (ends of its clips, seconds)}, peak of the decoding processes in bytes)."""
    client, results = DecodeClient(settings), {}
    for name in names:
        began, ends = time.monotonic(), []
        try:
            for header, _ in client.ask(str(folder / name), [(0.0, None)]):
                if "plan" not in header:
                    ends.append(header.get("reason", "accepted"))
                elif header["truncated"]:
                    ends.append(Reason.TRUNCATED.value)
        except Failure as failure:
            ends.append(failure.reason.value)
        results[name] = ends, time.monotonic() - began
    client.close()
    return results, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


def preprocess(folder, output, limit_seconds):
    """Runs the command, which must succeed. Returns (counters of dataset.json, paths of records and dead letters)."""
    command = [sys.executable, "-m", "mmv_tf.beam.preprocess", "--videos", str(folder), "--output", str(output)]
    subprocess.run([*command, "--num_shards=2"], check=True, cwd=ROOT, timeout=limit_seconds, capture_output=True)
    card = json.loads((output / "dataset.json").read_text())
    told = {json.loads(line)["path"] for line in (output / "dead_letters.jsonl").read_text().splitlines()}
    for shard in sorted(output.glob("train-*")):
        with open(shard, "rb") as file:
            for content, problem in tfrecord.read(file, shard.stat().st_size):
                assert problem is None, f"{shard.name}: {problem}"
                told.add(reader.parse(content).path.decode())
    return card["splits"]["train"]["counters"], told


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1000, help="mutated files")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings, wrong = Settings(), []
    with tempfile.TemporaryDirectory() as folder:
        videos = pathlib.Path(folder) / "videos"
        videos.mkdir()
        expected = write_campaign(videos, args.number, args.seed)
        results, peak = decode_each(videos, expected, settings)
        for name, (ends, seconds) in results.items():
            right = expected[name]
            if not ends or right and not set(ends) <= set(right) or not right and set(ends) & _CRASHES:
                wrong.append(f"{name}: {sorted(set(ends))} after {seconds:.1f} s, expected {right or 'no crash'}")
        began = time.monotonic()
        counters, told = preprocess(
            videos, pathlib.Path(folder) / "records", 10 * settings.timeout_seconds + args.number
        )
        seconds = time.monotonic() - began
        wrong += [f"{name}: neither a record nor a dead letter" for name in sorted(expected.keys() - told)]
        if counters["accepted"] + counters["rejected"] != counters["read"]:
            wrong.append(f"accepted + rejected is not what was read: {counters}")
    ends = collections.Counter(end for ends, _ in results.values() for end in ends)
    slowest = max(results, key=lambda name: results[name][1])
    print(f"{len(results)} files, clips by end: {dict(ends.most_common())}")
    print(f"slowest: {slowest}, {results[slowest][1]:.1f} s; peak of a decoding process: {peak >> 20} MiB")
    print(
        f"preprocess: read {counters['read']} = {counters['accepted']} accepted + {counters['rejected']} rejected, ",
        end="",
    )
    print(f"{seconds:.0f} s")
    print("\n".join(wrong) or "nothing crashed, nothing hung, every file is accounted for")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
