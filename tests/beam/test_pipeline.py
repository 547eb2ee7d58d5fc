"""The run behind the command: sources of all kinds, buckets, labels, and what a rerun does not do again."""

import contextlib
import hashlib
import io
import json
import pathlib
import shutil
import sys
import tempfile
import types

import cv2
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from helpers import memory_files
from helpers.videos import picture, write_video
from mmv_tf.beam import job, pipeline, spool, storage
from mmv_tf.beam.decoding import decode_source
from mmv_tf.beam.sources import source_files
from mmv_tf.beam.specs import ClipSpec, Inputs, Settings, Source
from mmv_tf.records import card as dataset_card
from mmv_tf.records import schema, tfrecord
from mmv_tf.records.card import Reason
from mmv_tf.records.naming import shard_name
from mmv_tf.records.schema import Caption

SETTINGS = Settings(short_side=32, clip_seconds=1.0)
OPTIONS = ["--direct_num_workers=1", "--direct_running_mode=multi_threading"]
WHOLE = (ClipSpec(),)


def _run(sources, root, output, split="train", num_shards=3, settings=SETTINGS, **fields):
    """Runs; returns the card."""
    inputs = Inputs(iter(sources), **fields)
    assert job.preprocess(inputs, str(root), str(output), split, num_shards, settings, PipelineOptions(OPTIONS)) == 0
    return dataset_card.load(str(output), storage.read_text)


def _records(folder):
    parsed = [schema.parse(record) for record in tf.data.TFRecordDataset(sorted(map(str, folder.glob("*-of-*"))))]
    return {record["key"].numpy().decode(): record for record in parsed}


def _dead(folder):
    lines = (json.loads(line) for line in (folder / "dead_letters.jsonl").read_text().splitlines())
    return {line["key"]: (line["reason"], line["detail"]) for line in lines}


def _jpeg(level, size=(40, 60)):
    return cv2.imencode(".png", np.full((*size, 3), level, np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    (folder / "sub").mkdir()
    write_video(folder / "a.mp4", seconds=2)
    write_video(folder / "sub/b[1]*.mkv", seconds=1, sound_codec=None)
    (folder / "text.mp4").write_text("no video")
    (folder / "c.png").write_bytes(_jpeg(90))
    (folder / "d.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    return folder


def _sources():
    captions = (Caption("Pour it, pour", 0.0, 1.0), Caption("flip", 1.0, 2.0))
    return [
        Source("a.mp4", (ClipSpec(0.0, 1.0, captions, ("x",)), ClipSpec(1.0, 2.0, captions, ("y",)))),
        Source("sub/b[1]*.mkv", (ClipSpec(captions=(Caption("pour", None, None),)),)),
        Source("text.mp4", (ClipSpec(captions=captions),)),
        Source("gone.mp4", (ClipSpec(0.0, 1.0), ClipSpec(3.0, 4.0))),
        Source("../a.mp4", WHOLE),
        Source("c.png", (ClipSpec(labels=("x", "z")),), "image"),
        Source("d.png", WHOLE, "image"),
    ]


@pytest.fixture(scope="module")
def local(root, tmp_path_factory):
    """A run with sources of all kinds, from a folder into a folder: that, the card, and what was printed."""
    folder = tmp_path_factory.mktemp("local")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        card = _run(_sources(), root, folder)
    return folder, card, printed.getvalue()


def test_sources_of_all_kinds(local):
    folder, card, printed = local
    found = _records(folder)
    assert sorted(found) == ["a.mp4:0-1", "a.mp4:1-2", "c.png:0-0", "sub/b[1]*.mkv:0-1"]
    still = found["c.png:0-0"]
    assert still["label"].numpy().tolist() == [0, 2] and abs(picture(still["video"].numpy()[0]).mean() - 90) < 2
    assert {key: reason for key, (reason, _) in _dead(folder).items()} == {
        "text.mp4:0-": "not_a_video",
        "gone.mp4:0-1": "missing_file",
        "gone.mp4:3-4": "missing_file",
        "../a.mp4:0-": "outside_root",
        "d.png:0-": "decode_error",
    }
    # Once a source, of those with a record: not of text.mp4, not twice for the two clips of a.mp4.
    assert card.word_counts == {"pour": 3, "flip": 1, "it": 1} and card.label_map == {"x": 0, "y": 1, "z": 2}
    counters = card.counters
    assert (counters["read"], counters["accepted"], counters["rejected"], counters["sound_failed"]) == (9, 4, 5, 0)
    names = [shard_name("train", n, 3) for n in range(3)]
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    assert card.splits["train"].settings["sha256"] == digests
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "dead_letters.jsonl", *names]
    assert "0 sound failed" in printed


def test_from_a_bucket_to_a_bucket(root, local, tmp_path, capsys):
    memory_files.FILES.clear()
    for path in root.rglob("*.*"):
        with memory_files.MemoryFileSystem({}).create(f"mem://videos/in/{path.relative_to(root)}") as file:
            file.write(path.read_bytes())
    few = [_sources()[n] for n in (0, 3)]  # the second is missing
    shutil.copytree(local[0], tmp_path, dirs_exist_ok=True)
    here = _run(few, root, tmp_path, "test")
    memory_files.LOG.clear()
    url = "mem://records/out"
    for split, number, sources in (("train", 5, few), ("train", 3, _sources()), ("test", 3, few)):
        there = _run(sources, "mem://videos/in", url, split, number)
    assert there == here
    written = {name.removeprefix(url + "/"): data for name, (data, _) in memory_files.FILES.items() if "/out" in name}
    # Of the five shards of the first run, and of the staging, nothing is left.
    assert written == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    opened = {name for what, name in memory_files.LOG if what == "open" and name.startswith("mem://videos")}
    assert opened == {f"mem://videos/in/{name}" for name in ("a.mp4", "sub/b[1]*.mkv", "text.mp4", "c.png", "d.png")}
    assert f"why: {url}/dead_letters.jsonl" in capsys.readouterr().out


def test_a_copy_from_a_bucket_is_bounded_and_deleted():
    memory_files.FILES["mem://b/x.mp4"] = (b"12345", 1.0)
    with source_files.opened("mem://b", "./y/../x.mp4", 5) as found, source_files.local(found, 5) as path:
        assert open(path, "rb").read() == b"12345" and path.endswith(".mp4")
    with pytest.raises(FileNotFoundError):
        open(path)
    with (
        pytest.raises(source_files.Refused, match="5 bytes, over 4") as refused,
        source_files.opened("mem://b", "x.mp4", 4),
    ):
        pass
    assert refused.value.reason == Reason.TOO_LARGE
    with pytest.raises(source_files.Refused, match="over 4 bytes"), source_files.local(found, 4):
        pass  # it has grown since it was found


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/x", "//x", "mem://b/x", ".", "", pathlib.PurePosixPath("/b/x").as_uri()]
)
def test_no_path_leads_out_of_a_bucket(path):
    memory_files.FILES["mem://b/x"] = (b"", 1.0)
    with pytest.raises(source_files.Refused) as refused, source_files.opened("mem://b/a", path, 5):
        pass
    assert refused.value.reason == Reason.OUTSIDE_ROOT


def test_a_bucket_whose_name_is_a_pattern_is_refused():
    with pytest.raises(ValueError, match="pattern"):
        job.preprocess(Inputs(()), "mem://b", "mem://a*", "train", 1, SETTINGS, PipelineOptions(OPTIONS))


def test_labels_keep_the_order_of_the_dataset(root, tmp_path):
    ordered = ("z", "unused", "x", "y")
    assert _run(_sources()[5:6], root, tmp_path, labels=ordered).label_map == {"z": 0, "unused": 1, "x": 2, "y": 3}
    assert _records(tmp_path)["c.png:0-0"]["label"].numpy().tolist() == [2, 0]
    card = _run(_sources()[:1], root, tmp_path, "test", labels=ordered)
    assert len(card.label_map) == 4 and sorted(card.splits) == ["test", "train"]
    before = (tmp_path / "dataset.json").read_bytes()
    with pytest.raises(ValueError, match="label 'x' has id 0 in this dataset, but id 2 in the splits test") as error:
        _run(_sources()[:1], root, tmp_path, labels=("x", "y"))
    assert "\n" not in str(error.value) and (tmp_path / "dataset.json").read_bytes() == before


def test_a_file_of_many_pictures(root, tmp_path, monkeypatch):
    def images(file, place):
        assert place == str(root / "a.mp4") and open(file, "rb").read() == (root / "a.mp4").read_bytes()
        yield "one", _jpeg(40), ("x",)
        yield "two", b"no picture", ("x",)
        yield "one", _jpeg(50), ("x",)
        yield "three", _jpeg(60), ("unheard of",)
        yield "four", _jpeg(70), ("y",)
        raise ValueError("damaged from here")

    imagenet = types.ModuleType("mmv_tf.beam.datasets.imagenet")
    imagenet.images = images
    monkeypatch.setitem(sys.modules, imagenet.__name__, imagenet)
    import mmv_tf.beam.datasets as datasets

    monkeypatch.setattr(datasets, "imagenet", imagenet, raising=False)
    sources = [Source("a.mp4", (), "tfds"), Source("gone", (), "tfds")]
    card = _run(sources, root, tmp_path, labels=("x", "y"))
    assert {key: int(record["label"][0]) for key, record in _records(tmp_path).items()} == {
        "a.mp4:one": 0,
        "a.mp4:four": 1,
    }
    assert {key: reason for key, (reason, _) in _dead(tmp_path).items()} == {
        "a.mp4:two": "decode_error",
        "a.mp4:one": "bad_row",
        "a.mp4:three": "bad_row",
        "": "missing_file",
    }
    assert card.counters["read"] == 7 and card.counters["reasons"]["decode_error"] == 2


def test_sound_that_failed_is_counted_and_the_clip_kept(root, local, tmp_path, monkeypatch):
    shutil.copytree(local[0], tmp_path, dirs_exist_ok=True)  # the shards of a run before, which others now replace
    ask = decode_source.DecodeClient.ask

    def without_sound(self, path, clips):
        for header, blobs in ask(self, path, clips):
            if "piece" in header:
                header, blobs = header | {"sound_failed": True}, blobs[: header["frames"]]
            yield header, blobs

    monkeypatch.setattr(decode_source.DecodeClient, "ask", without_sound)
    counters = _run(_sources()[:1], root, tmp_path).counters
    assert (counters["accepted"], counters["with_sound"], counters["sound_failed"]) == (2, 0, 2)
    assert counters["remarks"]["sound_failed"] == 2  # each is named in dead_letters.jsonl
    found = _records(tmp_path)
    assert sorted(found) == ["a.mp4:0-1", "a.mp4:1-2"] and not any(len(record["audio"]) for record in found.values())


def test_a_path_that_comes_twice_is_an_error(root, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(Exception, match="two clips of the same key.*a path came twice"):
        _run(_sources()[:1] * 2, root, tmp_path / "out")
    assert list(temporary.iterdir()) == []  # nor does a run that fails leave anything there


def test_what_is_staged_is_taken_over_only_if_it_is_whole(root, tmp_path):
    spooled = spool.write(iter(_sources()[:2]), str(tmp_path))
    step = decode_source.DecodeSource(str(root), str(tmp_path), SETTINGS, {"x": 0, "y": 1}, 3)

    def files():
        """Of the records of each source."""
        found = [step.process(reference) for reference in spool.references(spooled.files[0])]
        return [{item[2] for _, item in elements if item[0] == "record"} for elements in found]

    first = files()
    assert files() == first
    (lost,) = first[0]
    pathlib.Path(lost).unlink()  # as when a run is killed while it deletes its staging
    again = files()
    step.teardown()
    assert again[0] != first[0] and again[1] == first[1] and all(pathlib.Path(f).exists() for (f,) in again)


def test_spool_is_read_once_and_gives_back_what_was_written(tmp_path):
    sources = [Source(f"{n}.mp4", _sources()[0].clips) for n in range(600)] + _sources()[5:]
    spooled = spool.write(iter(sources), str(tmp_path))
    assert spooled.num_sources == 602 and spooled.labels == {"x", "y", "z"} and len(spooled.files) == 3
    back = [spool.read(*reference) for file in spooled.files for reference in spool.references(file)]
    assert back == sources


def test_number_of_shards_follows_the_amount(tmp_path):
    def number(source, times, **most):
        return spool.write((source for _ in range(times)), str(tmp_path), **most).num_shards

    assert number(Source("a", WHOLE), 10) == 8
    assert number(Source("a", (ClipSpec(0.0, 10.0),)), 20_000) == 56  # 200,000 s, an hour each
    assert number(Source("a", WHOLE), 1000) == 33
    assert number(Source("a", (ClipSpec(0.0, 1e7),) * 10), 10, max_clip_seconds=1e7) == spool.MAX_SHARDS
    # A wrong time, which becomes a rejection: a clip counts for 600 s at most.
    assert number(Source("a", (ClipSpec(0.0, 1e7),)), 10) == 8


def test_a_shard_is_taken_from_an_earlier_run_where_it_is_of_the_same_records_and_whole(tmp_path, monkeypatch):
    (tmp_path / "staging").mkdir()
    staged, frames = tmp_path / "staging" / "a", [tfrecord.framed(content) for content in (b"one", b"two", b"six")]
    staged.write_bytes(b"".join(frames))
    writer = pipeline.WriteShard(str(tmp_path), str(tmp_path / "staging"), "train", 1)
    shard, written = tmp_path / shard_name("train", 0, 1), []
    write = writer._write
    monkeypatch.setattr(writer, "_write", lambda *args: written.append(1) or write(*args))

    def run(*numbers):
        references = [("record", number, str(staged), number * len(frames[0]), len(frames[0])) for number in numbers]
        assert list(writer.process((0, references))) == [shard.name]
        assert shard.read_bytes() == b"".join(frames[number] for number in numbers)
        (report,) = (tmp_path / "staging").glob("*.report")
        assert json.loads(report.read_text())["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest()

    run(0, 1)
    run(0, 1)
    assert len(written) == 1
    run(0, 2)  # as many records and bytes, and others
    assert len(written) == 2
    shard.write_bytes(shard.read_bytes()[:-1])
    run(0, 2)
    assert len(written) == 3
    shard.unlink()
    run(0, 2)
    assert len(written) == 4
