"""verify says nothing of a good folder, and names whatever is changed in it."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import memory_files, record_fixtures
from mmv_tf import inspect
from mmv_tf.inspection import folder as folders
from mmv_tf.inspection.verify import run, verify
from mmv_tf.records import schema
from mmv_tf.records.card import DatasetCard, Reason, Split, load
from mmv_tf.records.naming import shard_name, shard_of
from mmv_tf.records.tfrecord import framed

NUMBER = 2  # shards of the split


def make(key, **changes):
    made = record_fixtures.record(key, num_frames=3, height=24, width=32, label=0)
    return dataclasses.replace(made, **{"labels": ((0, "saw"),), **changes})


def write(folder, content, split="train", rejected=()):
    """Writes records as preprocess does, with card and dead letters."""
    import hashlib

    placed = [[] for _ in range(NUMBER)]
    for record in content:
        index, rank = shard_of(record.key, NUMBER)
        placed[index].append((rank, schema.encode(record)))
    counts, checksums = {}, {}
    for index, some in enumerate(placed):
        name = shard_name(split, index, NUMBER)
        data = b"".join(framed(content) for _, content in sorted(some))
        (folder / name).write_bytes(data)
        counts[name], checksums[name] = len(some), hashlib.sha256(data).hexdigest()
    counters = {
        "read": len(content) + len(rejected),
        "accepted": len(content),
        "rejected": len(rejected),
        "reasons": {reason: list(rejected).count(reason) for reason in set(rejected)},
        "with_video": sum(bool(r.jpegs) for r in content),
        "frames": sum(len(r.jpegs) for r in content),
    }
    card = load(folder) if (folder / "dataset.json").exists() else DatasetCard(10.0, record_fixtures.SAMPLE_RATE, 40)
    card.label_map = {"saw": 0}
    card.splits[split] = Split(counts, counters, settings={"max_captions": 5, "sha256": checksums})
    card.save(folder)
    with open(folder / "dead_letters.jsonl", "a") as file:
        for reason in rejected:
            file.write(json.dumps({"split": split, "path": "x", "key": "", "reason": reason, "detail": ""}) + "\n")


def problems(folder, **settings):
    return verify(folders.read(folder), **settings).problems


@pytest.fixture(scope="module")
def _good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    write(folder, [make(f"video{i}.mp4:0-0.3") for i in range(6)], rejected=["missing_file", "timeout"])
    write(folder, [make("test.mp4:0-0.3", captions=(), waveform=None)], split="test")
    return folder


@pytest.fixture
def good(_good, tmp_path):
    return shutil.copytree(_good, tmp_path / "records")


def test_a_good_folder(good, capsys):
    assert problems(good, decode=True) == []
    assert problems(good, processes=2) == []
    assert inspect.cli(["verify", str(good), "--processes", "1"]) == 0
    assert "7 records in 4 shards" in capsys.readouterr().out


def first(good, split="train"):
    """A shard with at least two records, and its bytes."""
    names = [name for name, count in load(good).splits[split].shards.items() if count > 1]
    return good / names[0], bytearray((good / names[0]).read_bytes())


def test_every_flipped_bit_is_found(good):
    path, data = first(good)
    original = bytes(data)
    for place in np.random.default_rng(0).integers(0, len(data), 40):
        damaged = bytearray(original)
        damaged[place] ^= 1 << int(place % 8)
        path.write_bytes(damaged)
        found = problems(good)
        assert found and any(problem.startswith(f"{path.name}: ") for problem in found)
        assert any("SHA-256" in problem for problem in found)


def test_truncated_missing_surplus_and_temporary_files(good):
    path, data = first(good)
    path.write_bytes(data[:-5])
    assert any("the shard ends before the end of record" in p for p in problems(good))
    path.write_bytes(data)
    (good / "train-00000-of-00009").write_bytes(data)
    (good / ".staging-train").mkdir()
    (good / ".dataset.json.7.tmp").touch()
    said = "\n".join(problems(good))
    assert "train-00000-of-00009: is in the folder and not in dataset.json" in said
    assert ".staging-train: a run of preprocess that has not ended" in said
    assert ".dataset.json.7.tmp: a temporary file" in said
    path.unlink()
    assert f"{path.name}: is in dataset.json and not in the folder" in problems(good)


def test_keys_that_come_twice_or_lie_in_the_wrong_place(good, tmp_path):
    path, data = first(good)
    size = schema.encode(make("x")) and len(data) // load(good).shards[path.name]
    swapped = (
        data[size:] + data[:size] if len(data) == 2 * size else data[size : 2 * size] + data[:size] + data[2 * size :]
    )
    path.write_bytes(swapped)
    assert any("is not in its place in the order" in p for p in problems(good))
    path.write_bytes(data)
    index = int(path.name[6:11])
    other = good / shard_name("train", 1 - index, NUMBER)
    other.write_bytes(other.read_bytes() + data[:size])
    said = "\n".join(problems(good))
    assert f"belongs into shard {index:05d}" in said and "the key is also that of record" in said
    twin = tmp_path / "twin"
    twin.mkdir()
    write(twin, [make("same.mp4:0-0.3")])
    write(twin, [make("same.mp4:0-0.3")], split="test")
    assert len(problems(twin)) == 1 and "the key is also that of record 0 of test-" in problems(twin)[0]


GOOD_JPEG = record_fixtures.jpeg(10, 24, 32)
WRONG = {
    "frames in a span": {"end": 1.0},
    "end 0 s": {"end": 0.0},
    "s of sound in a span of 0.3 s": {"waveform": np.zeros(500, np.float32)},
    "frame 1 is no JPEG": {"jpegs": (GOOD_JPEG, b"PNG" + GOOD_JPEG, GOOD_JPEG)},
    "frame 2 is a JPEG that is cut off": {"jpegs": (GOOD_JPEG, GOOD_JPEG, GOOD_JPEG[:-30])},
    "frame 0 is 32x24, not 64x48": {"height": 48, "width": 64},
    "5 frames/s; dataset.json says 10": {"frame_rate": 5.0, "end": 0.6, "waveform": None},
    "sound at 2000 Hz": {"sample_rate": 2000, "waveform": np.zeros(600, np.float32)},
    "sound beyond full scale (2)": {"waveform": np.full(300, 2.0, np.float32)},
    "caption 0 has 1001 characters": {"captions": (schema.Caption("x" * 1001, 0.0, 1.0),)},
    "a caption that ends before it starts": {"captions": (schema.Caption("x", 1.0, 0.0),)},
    "6 captions; dataset.json says at most 5": {"captions": (schema.Caption("x", 0.0, 1.0),) * 6},
    "label 1 (saw) is not in the label map": {"labels": ((1, "saw"),)},
    "label 0 (glue) is not in the label map": {"labels": ((0, "glue"),)},
    "neither frames nor sound": {"jpegs": (), "waveform": None},
}


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_record_is_named(tmp_path, said):
    write(tmp_path, [make("ok.mp4:0-0.3"), make("bad.mp4:0-0.3", **WRONG[said])])
    found = problems(tmp_path)
    assert found and all("(bad.mp4:0-0.3)" in problem for problem in found)
    assert any(said in problem for problem in found), found


def test_only_decoding_finds_a_frame_of_another_size(tmp_path):
    lying = GOOD_JPEG.replace(b"\xff\xc0\x00\x11\x08\x00\x18\x00\x20", b"\xff\xc0\x00\x11\x08\x00\x18\x00\x00")
    assert lying != GOOD_JPEG
    write(tmp_path, [make("bad", jpegs=(lying,) * 3, width=0, height=0)])
    assert any("cannot be decoded" in problem for problem in problems(tmp_path, decode=True))


def test_a_picture_has_no_duration(tmp_path):
    still = schema.Record("p.jpg:0-0", "p.jpg", 0.0, 0.0, jpegs=(GOOD_JPEG,), height=24, width=32)
    write(tmp_path, [still])
    assert problems(tmp_path) == []


def test_what_dataset_json_says_must_be_so(good, capsys):
    card = load(good)
    card.splits["train"].counters.update(read=9, frames=1)
    card.save(good)
    (good / "dead_letters.jsonl").write_text('{"split": "train", "reason": "no_such"}\nrubbish\n')
    said = "\n".join(problems(good))
    assert "6 accepted + 2 rejected is not 9 read" in said
    assert "frames is 18; dataset.json says 1" in said
    assert "line 1: unknown reason no_such" in said and "line 2: not a line that preprocess writes" in said
    assert "holds 1 lines; dataset.json says 2 rejected" in said
    assert inspect.cli(["verify", str(good), "--processes=1"]) == 1
    assert "PROBLEMS" in capsys.readouterr().out
    assert set(Reason) and inspect.cli(["verify", str(good / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_records_of_another_tool(tmp_path, capsys):
    example = tf.train.SequenceExample()
    example.context.feature["clip/label/index"].int64_list.value.append(7)
    example.feature_lists.feature_list["image/encoded"].feature.add().bytes_list.value.append(GOOD_JPEG)
    with tf.io.TFRecordWriter(str(tmp_path / "hmdb-00000-of-00001")) as writer:
        writer.write(example.SerializeToString())
    assert inspect.cli(["verify", str(tmp_path), "--processes=1"]) == 0
    told = capsys.readouterr()
    assert "no dataset.json" in told.err and "1 records in 1 shards" in told.out
    (tmp_path / "hmdb-00000-of-00001").unlink()
    assert inspect.cli(["verify", str(tmp_path), "--processes=1"]) == 2
    assert "is it a folder of records?" in capsys.readouterr().err


def test_a_hostile_key_cannot_command_a_terminal(tmp_path):
    write(tmp_path, [make("\x1b[2J\n" + "k" * 500, end=1.0)])
    assert all("\x1b" not in p and "\n" not in p and len(p) < 400 for p in problems(tmp_path))


def test_records_in_a_bucket(good):
    for path in good.iterdir():
        memory_files.FILES[f"mem://bucket/set/{path.name}"] = (path.read_bytes(), 0.0)
    try:
        assert problems("mem://bucket/set") == []
        name = next(iter(load(good).splits["train"].shards))
        url = f"mem://bucket/set/{name}"
        memory_files.FILES[url] = (memory_files.FILES[url][0][:-1], 0.0)
        assert any(problem.startswith(f"{name}: the shard ends before") for problem in problems("mem://bucket/set"))
    finally:
        memory_files.FILES.clear()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"label_map": ["saw"]}, 'label_map: ["saw"] is no object'),
        (
            {"splits": {"train": {"shards": {"train-00000-of-00002": "3"}}}},
            "splits/train/shards: \"3\" of 'train-00000-of-00002' is no count",
        ),
        ({"splits": {"train": {"shards": {}, "counters": 3}}}, "splits/train/counters: 3 is no object"),
        ({"splits": {}}, "lists no split: a run of preprocess has not ended"),
        ({"schema_version": 99}, "newer than"),
    ],
)
def test_a_card_that_makes_no_sense_is_one_line(good, capsys, change, said):
    card = json.loads((good / "dataset.json").read_text())
    (good / "dataset.json").write_text(json.dumps(card | change))
    assert inspect.cli(["verify", str(good), "--processes=1"]) == 2
    assert said in capsys.readouterr().err


def test_a_reading_process_that_is_killed_is_one_line():
    with pytest.raises(ValueError, match="was killed"):
        run(os._exit, [1, 1], 2, "test")


def test_what_is_no_record_and_no_file_is_told_at_once(good):
    """Neither an empty record in a set without checksums, nor labels without a map; and no pipe is waited for."""
    name = shard_name("train", 0, NUMBER)
    card = load(good)
    card.splits["train"].settings.pop("sha256")
    card.splits["train"].counters = {}
    card.label_map = {}
    card.splits["train"].shards[name] += 1
    card.save(good)
    with open(good / name, "ab") as file:
        file.write(framed(b""))
    found = problems(good)
    assert sum("an empty record: no key, frames, sound or narration" in problem for problem in found) == 1
    assert sum("is not in the label map of dataset.json" in problem for problem in found) >= 6
    (good / name).unlink()
    os.mkfifo(good / name)
    assert f"{name}: cannot be opened (not a regular file)" in problems(good)


def test_a_jpeg_of_thousands_of_scans_is_told(good):
    record = make("video0.mp4:0-0.3")
    scans = record.jpegs[0][:-2] + b"\xff\xda\x00\x02" * 3000 + b"\xff\xd9"
    write(good, [dataclasses.replace(record, jpegs=(scans,) * 3)])
    assert any("frame 0 is a JPEG of 3001 scans" in problem for problem in problems(good))
