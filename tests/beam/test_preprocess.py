"""Whole runs of the command: what lies in the folder afterwards."""

import contextlib
import hashlib
import io
import json
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from helpers.videos import numbers, write_video
from mmv_tf.beam import job, preprocess
from mmv_tf.beam.decoding import client
from mmv_tf.common import lock
from mmv_tf.records import card as dataset_card
from mmv_tf.records import schema
from mmv_tf.records.naming import shard_name, shard_of

SMALL = ["--num_shards=3", "--clip_seconds=1", "--short_side=32", "--direct_num_workers=1"]


def _run(*flags):
    return preprocess.cli([*map(str, flags), *SMALL])


def _records(folder, split="train"):
    files = sorted(str(path) for path in folder.glob(f"{split}-*"))
    parsed = [schema.parse(record) for record in tf.data.TFRecordDataset(files)]
    return {record["key"].numpy().decode(): record for record in parsed}


def _serialized(folder):
    """The records of all splits, whatever shards they are in."""
    return sorted(tf.data.TFRecordDataset(list(map(str, folder.glob("*-of-*")))).as_numpy_iterator())


def _digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*-of-*"))}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    (root / "sub").mkdir()
    write_video(root / "a.mp4", seconds=3)
    write_video(root / "sub/b.mkv", seconds=2, codec="mpeg4", sound_codec=None)
    write_video(root / "c.wav", seconds=1.4, codec=None, sound_codec="pcm_s16le", beep_at=0.5)
    (root / "a.srt").write_text(
        "1\n00:00:00,200 --> 00:00:00,900\nPour it, pour\n\n2\n00:00:02,000 --> 00:00:03,000\nflip"
    )
    (root / "text.mp4").write_text("not a video")
    (root / "empty.mp4").touch()
    (root / "playlist.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    (root / "notes.txt").write_text("x")
    return root


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    """A run over the folder of videos: the folder of its records, what it printed, and the one for temporary files."""
    output, temporary = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(tempfile, "tempdir", str(temporary))
        assert _run("--videos", videos, "--output", output) == 0
    return output, printed.getvalue(), temporary


@pytest.fixture(scope="module")
def listed(videos, tmp_path_factory):
    """The folder of a run over ROWS."""
    folder = tmp_path_factory.mktemp("listed")
    flags = ["--manifest", _manifest(folder, ROWS), "--video_root", videos, "--output", folder / "out"]
    assert _run(*flags) == 0
    return folder / "out"


def test_folder_of_videos(whole):
    folder, printed, _ = whole
    found = _records(folder)
    assert sorted(found) == "a.mp4:0-1 a.mp4:1-2 a.mp4:2-3 c.wav:0-1.4 sub/b.mkv:0-1 sub/b.mkv:1-2".split()
    second = found["a.mp4:1-2"]
    assert numbers(second["video"].numpy()) == [25, 0, 3, 5, 8, 10, 13, 15, 18, 20]
    assert second["audio"].shape == [48000] and 0.05 < np.abs(second["audio"]).max() < 0.2
    assert second["start"].numpy() == 1 and second["end"].numpy() == 2
    assert [t.decode() for t in second["text"].numpy()] == ["flip", "Pour it, pour"]  # one touches, one is 0.1 s away
    assert found["sub/b.mkv:0-1"]["audio"].shape == [0] and found["c.wav:0-1.4"]["video"].shape == [0]
    card = dataset_card.load(folder)
    names = [shard_name("train", n, 3) for n in range(3)]
    assert card.files("train") == names
    for name in names:
        assert sum(1 for _ in tf.data.TFRecordDataset(str(folder / name))) == card.shards[name]
        assert all(shard_of(key, 3)[0] == names.index(name) for key in _keys(folder / name))
    assert (card.frame_rate, card.sample_rate, card.short_side) == (10.0, 48000, 32)
    counters = card.counters
    assert (counters["read"], counters["accepted"], counters["rejected"]) == (9, 6, 3)
    assert (counters["with_video"], counters["with_sound"], counters["silent"]) == (5, 4, 0)
    assert counters["reasons"] == {"not_a_video": 3}
    assert card.word_counts == {"pour": 2, "flip": 1, "it": 1}
    dead = [json.loads(line) for line in (folder / "dead_letters.jsonl").read_text().splitlines()]
    assert [(line["path"], line["reason"], line["split"]) for line in dead] == [
        ("empty.mp4", "not_a_video", "train"),
        ("notes.txt", "ignored_file", "train"),
        ("playlist.mp4", "not_a_video", "train"),
        ("text.mp4", "not_a_video", "train"),
    ]
    assert counters["remarks"] == {"ignored_file": 1}
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "dataset.json", "dead_letters.jsonl"])
    assert "read 9 = accepted 6 + rejected 3 (3 not_a_video)" in printed and "1 files ignored" in printed
    assert "of no kind that is read (notes.txt)" in printed


def test_nothing_is_left_in_the_temporary_folder(whole):
    """Beam alone leaves four empty folders."""
    assert list(whole[-1].iterdir()) == []


def _keys(path):
    return [schema.parse(record)["key"].numpy().decode() for record in tf.data.TFRecordDataset(str(path))]


ROWS = [
    "a.mp4,0.5,1.5,pour it,cooking",
    "a.mp4,1.0,9.0,flip it,archery",
    "a.mp4,50,60,nothing there,archery",
    "sub/b.mkv,,,the whole,cooking",
    "gone.mp4,0,1,,zumba",
    "../x.mp4,0,1,,zumba",
    "a.mp4,3,2,,zumba",
]


def _manifest(folder, rows):
    path = folder / "m.csv"
    path.write_text("\n".join(["video_path,start,end,caption,label", *rows]))
    return path


def test_manifest_labels_captions_and_rejections(listed):
    found = _records(listed)
    assert sorted(found) == ["a.mp4:0.5-1.5", "a.mp4:1-9", "sub/b.mkv:0-1", "sub/b.mkv:1-2"]
    cut = found["a.mp4:1-9"]
    assert cut["end"].numpy() == 3 and cut["video"].shape == [20] and cut["text"].numpy().tolist() == [b"flip it"]
    assert found["sub/b.mkv:1-2"]["text"].numpy().tolist() == [b"the whole"]
    card = dataset_card.load(listed)
    # Of all rows that can be read, also of those whose video is missing: the ids don't depend on the downloads.
    assert card.label_map == {"archery": 0, "cooking": 1, "zumba": 2}
    assert found["a.mp4:0.5-1.5"]["label"].numpy().tolist() == [1]
    dead = [json.loads(line) for line in (listed / "dead_letters.jsonl").read_text().splitlines()]
    assert [(line["path"], line["key"], line["reason"]) for line in dead] == [
        ("../x.mp4", "", "outside_root"),
        ("a.mp4", "", "bad_row"),
        ("a.mp4", "a.mp4:50-60", "empty_clip"),
        ("gone.mp4", "gone.mp4:0-1", "missing_file"),
    ]
    assert card.counters["read"] == 8 and card.counters["accepted"] == 4


def test_a_piece_that_rows_share_has_the_captions_and_labels_of_all(videos, tmp_path):
    rows = ["sub/b.mkv,,,,A", "sub/b.mkv,1,,second part,B", "sub/b.mkv,0,1,pour,C"]
    out = tmp_path / "out"
    assert _run("--manifest", _manifest(tmp_path, rows), "--video_root", videos, "--output", out) == 0
    found = {
        key: (record["text"].numpy().tolist(), record["label_name"].numpy().tolist())
        for key, record in _records(out).items()
    }
    assert found == {
        "sub/b.mkv:0-1": ([b"pour"], [b"A", b"C"]),
        "sub/b.mkv:1-2": ([b"second part"], [b"A", b"B"]),
    }


def test_same_bytes_for_any_order_and_number_of_workers(videos, listed, tmp_path):
    rows, out = ROWS[2::-1] + ROWS[:2:-1], tmp_path / "out"
    flags = ["--manifest", _manifest(tmp_path, rows), "--video_root", videos, "--output", out]
    assert preprocess.cli([*map(str, flags), *SMALL[:-1], "--direct_num_workers=4"]) == 0
    assert _digests(out) == _digests(listed) and len(_digests(out)) == 3
    assert dataset_card.load(out).label_map == dataset_card.load(listed).label_map


def test_splits_share_a_folder(videos, tmp_path):
    out = tmp_path / "out"
    train, test = _manifest(tmp_path, ROWS[:2]), tmp_path / "test.csv"
    test.write_text("video_path,start,end,label\nsub/b.mkv,0,1,boxing\nsub/b.mkv,1,2,cooking\ngone.mp4,0,1,\n")
    assert _run("--manifest", train, "--video_root", videos, "--output", out) == 0
    assert _run("--manifest", test, "--video_root", videos, "--output", out, "--split=test") == 0
    before = _serialized(out)
    assert len(_digests(out)) == 6 and len(before) == 4
    # Another number of shards: the old ones go, the other split stays.
    assert (
        preprocess.cli(["--manifest", str(train), "--video_root", str(videos), "--output", str(out)] + SMALL[1:]) == 0
    )
    assert _serialized(out) == before
    assert len(list(out.glob("train-*"))) == 8 and len(list(out.glob("test-*"))) == 3
    card = dataset_card.load(out)
    assert sorted(card.splits) == ["test", "train"] and len(card.shards) == 11
    assert card.label_map == {"archery": 0, "cooking": 1, "boxing": 2}  # known labels keep their ids
    assert len((out / "dead_letters.jsonl").read_text().splitlines()) == 1
    assert _run("--manifest", train, "--video_root", videos, "--output", out, "--fps=5") == 2  # the splits would differ


def test_a_run_that_was_killed_goes_on(videos, whole, tmp_path, monkeypatch):
    flags = ["--videos", str(videos), *SMALL]
    out = tmp_path / "killed"
    kill = (
        "import os, signal; from mmv_tf.beam import pipeline, preprocess\n"
        "write, written = pipeline.WriteShard._write, []\n"
        "def write_one(self, *args):\n"
        "    if written: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    written.append(write(self, *args))\n"
        "    return written[0]\n"
        "pipeline.WriteShard._write = write_one\n"
        f"preprocess.cli({[*flags, '--output', str(out)]!r})"
    )
    assert subprocess.run([sys.executable, "-c", kill], capture_output=True).returncode == -9
    (shard,) = out.glob("train-*")
    inode = shard.stat().st_ino
    assert len(list((out / ".staging-train").glob("*.tfrecord"))) == 6
    monkeypatch.setattr(client.DecodeClient, "ask", None)  # what is staged is not decoded again
    assert preprocess.cli([*flags, "--output", str(out)]) == 0
    assert _digests(out) == _digests(whole[0]) and not (out / ".staging-train").exists()
    assert shard.stat().st_ino == inode  # nor is a finished shard written again


def test_nothing_accepted_is_said_by_the_exit_status(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_text("x")
    assert _run("--videos", tmp_path / "in", "--output", tmp_path / "out") == 1
    assert dataset_card.load(tmp_path / "out").counters["rejected"] == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--videos=x", "--output=y", "--runer=Direct"], "unknown option --runer=Direct"),
        (["--videos=x", "--output=y", "--jpeg_quality=0"], "--jpeg_quality must be 1 to 100"),
        (["--videos=x", "--output=y", "--fps=nan"], "--fps must be positive"),
        (["--videos=x", "--output=y", "--clip_seconds=601"], "--clip_seconds must be at most 600, not 601"),
        (["--videos=x", "--output=y", "--timeout_seconds=1e7"], "--timeout_seconds must be at most 1000000, not"),
        (["--videos=x", "--output=y", "--max_memory_mb=99999999999999"], "--max_memory_mb must be at most 16777216"),
        (["--videos=x", "--output=y", "--split=a/b"], "--split must be a word"),
        (["--videos=x", "--output=y", "--caption_languages=de,Klingon"], "--caption_languages: 'Klingon' is neither"),
        (["--output=y"], "either --videos or --manifest"),
        (["--manifest=x", "--output=y"], "--manifest and --video_root belong together"),
        (["--videos=x", "--outpu=y"], "--output"),
    ],
)
def test_bad_options_are_named(flags, message, capsys):
    with pytest.raises(SystemExit) as caught:
        preprocess.cli(flags)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_a_missing_folder_is_one_line(tmp_path, capsys):
    assert preprocess.cli(["--videos", str(tmp_path / "nowhere"), "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_needs_no_heavy_import():
    code = (
        "import sys; from mmv_tf.beam import preprocess\n"
        "try: preprocess.cli(['--help'])\n"
        "except SystemExit: print(sorted({'tensorflow', 'apache_beam', 'av', 'cv2'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]" and "--clip_seconds" in output


@pytest.mark.parametrize("text", ["garbage\n", "[1]\n", '{"split": "train"}\n{"path": 1}\n', "[" * 100_000, "\udcff"])
def test_damaged_dead_letters_end_a_run_before_its_work(videos, tmp_path, capsys, monkeypatch, text):
    out = tmp_path / "out"
    out.mkdir()
    (out / "dead_letters.jsonl").write_text(text, errors="surrogateescape")
    monkeypatch.setattr(job.graph, "build", None)
    assert preprocess.cli(["--videos", str(videos), "--output", str(out), "--split", "test"]) == 2
    error = capsys.readouterr().err
    assert "dead_letters.jsonl: " in error and "move " in error and error.count("\n") == 1
    assert (out / "dead_letters.jsonl").read_text(errors="surrogateescape") == text


def test_two_at_once_into_one_folder(videos, tmp_path, capsys):
    with lock.folder(tmp_path / "out", "preprocess"):
        assert preprocess.cli(["--videos", str(videos), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "in use by `mmv_tf preprocess`" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
