"""Preprocessing that is killed again and again ends in the bytes of preprocessing that is not.

    python benchmarks/faults/preprocess_kills.py --kills 50

A folder of small videos, broken ones among them, is preprocessed by two worker threads. The process group
is killed (SIGKILL) at seeded random moments: while it starts, while it decodes, while it writes shards, and at the end;
and the same command is given again until it is done. A run that gets done before the next kill is compared and started
over in an empty folder. After every kill each shard that is there must have the checksum of the undisturbed run; at the
end so must every file. All the while inotify records what happens in the output folder: whatever appears under a final
name must be moved there whole, and never be opened for writing.

Measured on two busy cores: 50 kills (8 before anything new, 8 among the sources, 13 among the shards, 21 after the last
one, also inside the clean-up), 12 times to the end, each time the same 42 files; 599 files moved under a final name,
none open for writing there. An earlier campaign found a real fault: killed while it deletes its staging, a run could
leave the index of a source without its records.
"""

import argparse
import collections
import ctypes
import hashlib
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

from mmv_tf.common import lock

ROOT = pathlib.Path(__file__).resolve().parents[2]
NUM_SHARDS = 40
NUM_VIDEOS, NUM_BROKEN = 24, 4
NUM_SOURCES = NUM_VIDEOS + NUM_BROKEN

_MODIFY, _CLOSE_WRITE, _MOVED_TO, _CREATE, _IS_DIR = 0x2, 0x8, 0x80, 0x100, 0x40000000


class Watch:
    """Counts the events in a folder; `wrong` are those by which a file could be seen before it is whole."""

    def __init__(self, folder):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_CLOEXEC)
        wanted = _MODIFY | _CLOSE_WRITE | _MOVED_TO | _CREATE
        if self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), wanted) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        self.moved, self.wrong = 0, []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while data := os.read(self._descriptor, 1 << 16):
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                name, data = data[16 : 16 + length].rstrip(b"\0").decode(), data[16 + length :]
                if mask & _MOVED_TO:
                    self.moved += 1
                elif not mask & _IS_DIR and name != lock.NAME:  # which says who writes, and is no output
                    self.wrong.append((hex(mask), name))


def _make_videos(folder):
    from helpers.videos import write_video

    folder.mkdir()
    for n in range(NUM_VIDEOS):
        write_video(folder / f"{n}.mp4", seconds=1 + n % 3, fps=15)
        (folder / f"{n}.srt").write_text(f"1\n00:00:00,000 --> 00:00:01,000\nstep {n}")
    for n in range(NUM_BROKEN):
        (folder / f"broken{n}.mp4").write_bytes((folder / f"{n}.mp4").read_bytes()[: 2000 * n])


def _start(videos, output, log):
    flags = ["--clip_seconds=1", "--short_side=32", f"--num_shards={NUM_SHARDS}", "--direct_num_workers=2"]
    command = [sys.executable, "-m", "mmv_tf.beam.preprocess", f"--videos={videos}", f"--output={output}", *flags]
    with open(log, "w") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)


def _checksums(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*-of-*"))}


def _everything(folder):
    assert not (folder / ".staging-train").exists()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _state(output):
    """(sources staged, reports of shards)."""
    staging = output / ".staging-train"
    names = os.listdir(staging) if staging.is_dir() else []
    return sum(name.endswith(".json") for name in names), sum(name.endswith(".report") for name in names)


def _kill(process, output, rng, seconds):
    """Kills the group at a random moment; where that was, or None if the process had ended by itself."""
    sources, reports = _state(output)
    kinds = ["any", "shards", "shards", "end"] + ["decode"] * 3 * (sources < NUM_SOURCES)
    kind = rng.choice(kinds)
    targets = {"any": (0, 0), "decode": (sources + rng.randint(1, 12), 0), "shards": (0, reports + rng.randint(1, 12))}
    target = targets.get(kind, (0, NUM_SHARDS))
    delay = rng.uniform(0, seconds) if kind == "any" else rng.uniform(0, 0.01)
    while process.poll() is None:
        now = _state(output)
        if now[0] >= target[0] and now[1] >= target[1]:
            break
        time.sleep(0.001)
    try:
        process.wait(delay)
        return None
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    after = _state(output)
    if after[1] >= NUM_SHARDS or sources and not after[0]:
        return "after the last shard"
    if after[1] > reports:
        return "among the shards"
    return "among the sources" if after[0] > sources else "before anything new"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT / "tests"))
    rng = random.Random(args.seed)
    folder = pathlib.Path(tempfile.mkdtemp())
    videos, calm, output, log = folder / "videos", folder / "calm", folder / "killed", folder / "log"
    _make_videos(videos)
    began = time.monotonic()
    assert _start(videos, calm, log).wait() == 0, log.read_text()
    seconds = time.monotonic() - began
    expected, shards = _everything(calm), _checksums(calm)
    print(f"undisturbed: {seconds:.1f} s; {log.read_text().splitlines()[-4].strip()}", flush=True)

    output.mkdir()
    watch = Watch(output)
    moments, done = collections.Counter(), 0
    while True:
        process = _start(videos, output, log)
        moment = _kill(process, output, rng, seconds) if sum(moments.values()) < args.kills else process.wait()
        if moment:  # killed, or the status of the last run
            assert isinstance(moment, str), log.read_text()
            moments[moment] += 1
            found = _checksums(output)
            assert found.items() <= shards.items(), f"shards that differ after kill {moments}: see {folder}"
            print(f"kill {sum(moments.values())}: {moment}; {len(found)} shards there", flush=True)
            continue
        assert process.returncode == 0, log.read_text()
        assert _everything(output) == expected, f"the files differ: see {folder}"
        done += 1
        if sum(moments.values()) >= args.kills:
            break
        for path in output.iterdir():
            path.unlink()
    time.sleep(0.5)
    assert not watch.wrong, watch.wrong[:5]
    shutil.rmtree(folder)
    print(f"{sum(moments.values())} kills: {', '.join(f'{n} {moment}' for moment, n in sorted(moments.items()))};")
    print(f"{done} times to the end, each time the same {len(expected)} files;")
    print(f"{watch.moved} files were moved under a final name, none was ever open for writing there.")


if __name__ == "__main__":
    main()
