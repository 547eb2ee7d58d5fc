"""The embedding job: its rows are those of the module, whatever the way in, and what cannot be embedded is said."""

import collections
import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys

import apache_beam as beam
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.internal import pickler

from helpers import record_fixtures as fixtures
from helpers import tiny_export
from helpers.videos import write_video
from mmv_tf.beam import preprocess
from mmv_tf.beam.decoding import image_worker
from mmv_tf.beam.decoding.client import DecodeClient
from mmv_tf.beam.specs import Settings
from mmv_tf.export import embed, module_files
from mmv_tf.export.embedding import clip_cutter
from mmv_tf.export.embedding import inputs as embed_inputs
from mmv_tf.export.embedding import job as embed_run
from mmv_tf.export.embedding import pipeline as embed_pipeline
from mmv_tf.inputs import pipeline as input_pipeline
from mmv_tf.records import naming, schema
from mmv_tf.records.schema import Caption, Record

SECONDS, RATE = 0.4, 10.0  # of a clip of tests/helpers/tiny.py


@pytest.fixture(scope="module")
def export():
    """The shared one, whose module is loaded once for all tests of the process, those of other files included."""
    export = tiny_export.export()
    with pytest.MonkeyPatch.context() as patch, tiny_export.clips_cut_by_one_graph():
        patch.setitem(embed_pipeline._modules, str(export.module), tiny_export.module())
        yield export


@pytest.fixture(scope="module")
def module(export):
    return embed_pipeline.load_module(str(export.module))


def _run(export, output, *flags):
    flags = ["--module", export.module, "--output", output, *flags]
    if not any(str(flag).startswith("--direct_num_workers") for flag in flags):
        flags.append("--direct_num_workers=1")
    return embed.main([str(flag) for flag in flags])


def _rows(output, modality, space):
    tables = [pq.read_table(path) for path in sorted(output.glob(f"{modality}-{space}-*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def _digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.parquet")}


def _dead(output):
    return [json.loads(line) for line in (output / "dead_letters.jsonl").read_text().splitlines()]


def _assert_close(rows, expected):
    vectors = np.array([row["vector"] for row in rows], np.float32)
    assert vectors.shape == expected.shape
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_records_give_what_the_module_gives(export, module):
    """In a process without the libraries that the front ends of training are written in, which a worker may lack."""
    pattern, output = str(export.records / "train-*"), tiny_export.client().embeddings
    assert "audio in va: 63 x 16" in tiny_export.client().said
    # A record of 1 s holds 2.5 clips: three, at the frames 0, 3 and 6.
    evaluation = {"video": [], "audio": [], "image": [], "text": []}
    for content in tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(pattern))):
        record = schema.parse(content)
        key = record["key"].numpy().decode()
        for first in (0, 3, 6):
            frames = export.loaded.pipeline.video.evaluation_clip(record["video"][first : first + 4]).numpy() / 255
            times = (first / RATE, first / RATE + SECONDS)
            evaluation["video"].append((key, times, frames))
            evaluation["image"].append((key, (times[0] + 0.2, times[0] + 0.2), frames[2]))
            if len(record["audio"]):
                evaluation["audio"].append((key, times, record["audio"][first * 800 : first * 800 + 3200].numpy()))
        evaluation["text"] += [(key, (0.0, 1.0), text) for text in record["text"].numpy()]
    assert {m: len(found) for m, found in evaluation.items()} == {"video": 72, "image": 72, "audio": 63, "text": 30}
    for modality, found in evaluation.items():
        values = np.stack([value for _, _, value in found])
        inputs = tf.constant(values if modality == "text" else values.astype(np.float32))
        direct = module.signatures[modality](inputs)
        for space in ("vat",) if modality == "text" else ("va", "vat"):
            rows = _rows(output, modality, space)
            order = sorted(range(len(found)), key=lambda i: found[i][0])  # in each record they are in order already
            rows.sort(key=lambda row: (row["key"], row["number"]))
            assert [row["key"] for row in rows] == [found[i][0] for i in order]
            times = [(row["start"], row["end"]) for row in rows]
            np.testing.assert_allclose(times, [found[i][1] for i in order], atol=1e-6)
            _assert_close(rows, direct[space].numpy()[order])
            checksum = module_files.checksum(str(export.module))
            assert {(row["modality"], row["space"], row["module"]) for row in rows} == {(modality, space, checksum)}
    summary = json.loads((output / "embeddings.json").read_text())
    assert {(s["signature"], s["space"]): s["rows"] for s in summary["spaces"]}[("audio", "va")] == 63
    assert summary["module"]["sha256"] == module_files.checksum(str(export.module))
    assert summary["files"].keys() == _digests(output).keys() and len(summary["files"]) == 14
    assert {name: entry["sha256"] for name, entry in summary["files"].items()} == _digests(output)
    assert _dead(output) == [] and not (output / ".staging").exists()


def test_an_accelerator_resizes_the_frames_of_records_where_the_setting_says_so(export, tmp_path, monkeypatch, capsys):
    """Of frames of 40 x 48 pixels, whose shorter side clips want at 36; what the one form wrote is not the other's."""
    settings = clip_cutter.ClipSettings(4, 10.0, 36, 32, None)
    sizes, serialized = [(40, 48)], schema.encode(fixtures.record("k", num_frames=8, sound=False))
    box = settings.box_for(sizes)
    cutters = [clip_cutter.ClipCutter(settings, ("video", "image"), one) for one in (box, None)]
    ours, theirs = ({"video": [], "image": []} for _ in cutters)
    for cutter, found in zip(cutters, (ours, theirs), strict=True):
        for item in cutter.cut(serialized):
            found[item.modality].append(item)
    for modality, wanted in theirs.items():
        assert [item[:4] for item in ours[modality]] == [item[:4] for item in wanted] and len(wanted) == 2
        handler = embed_pipeline.ModuleHandler("m", modality, 3, settings.crop_size)
        values = [item.value for item in ours[modality]]
        whole = np.stack([item.value for item in wanted]).astype(float)
        difference = np.abs(handler._finished(values).numpy()[:2] - whole)
        assert whole.std() > 20 and difference.max() <= 1 and (difference > 0).mean() < 0.01
        assert handler.get_num_bytes(values) > 2 * (4 if modality == "video" else 1) * box[0] * box[1] * 3
    written, flags = [], ["--records", export.records / "train-00000-*", "--signatures=video,image", "--spaces=va"]
    parts = {"auto": "all of it is made by the host", "accelerator": "the host reads, decodes and cuts"}
    for setting, who in parts.items():
        monkeypatch.setattr(input_pipeline, "finish_on", lambda setting=setting: setting)
        assert _run(export, tmp_path, *flags, "--num_shards=1") == 0
        said = capsys.readouterr().out
        assert f"\ninput: {who}" in said and f"(InputPipeline.finish_on = '{setting}')" in said
        assert ("of another form of the frames" in said) == (setting == "accelerator")
        written.append({modality: _rows(tmp_path, modality, "va") for modality in ("video", "image")})
    for modality, rows in written[0].items():
        vectors = [np.array([row.pop("vector") for row in one[modality]]) for one in written]
        assert rows == written[1][modality] and len(rows) > 2
        np.testing.assert_allclose(*vectors, rtol=0, atol=2e-2 * np.abs(vectors[0]).max())


def test_of_videos_nothing_is_left_to_an_accelerator(export, monkeypatch):
    monkeypatch.setattr(input_pipeline, "finish_on", lambda: "accelerator")
    job = embed_run.Job("videos", "v", "m", "o", {("video", "va"): 16}, 8, 1, {})
    box, (line,) = embed_run._finishing(job, None)
    assert box is None
    assert line == "input: all of it is made by the host, which decodes frames no larger than clips want them"
    assert embed_run._finishing(dataclasses.replace(job, dims={("audio", "va"): 16}), None) == (None, [])


def test_a_rerun_gives_the_same_bytes_and_takes_old_files_away(export, tmp_path):
    flags = ["--records", export.records / "train-0000[01]-*", "--signatures=audio,text", "--spaces=vat"]
    assert _run(export, tmp_path, *flags, "--num_shards=3", "--direct_num_workers=2") == 0
    two = {name: pq.read_table(tmp_path / name).to_pylist() for name in _digests(tmp_path)}
    assert sorted(two) == [f"{m}-vat-0000{i}-of-00003.parquet" for m in ("audio", "text") for i in range(3)]
    (tmp_path / "theirs-00000-of-00001.parquet").touch()
    assert _run(export, tmp_path, *flags, "--num_shards=2") == 0
    (tmp_path / "theirs-00000-of-00001.parquet").unlink()  # it was none of ours, and is still there
    first = _digests(tmp_path)
    assert sorted(first) == [f"{m}-vat-0000{i}-of-00002.parquet" for m in ("audio", "text") for i in (0, 1)]
    # Two workers make other batches, and on some processors the last digit hangs on the place in a batch.
    whole = {
        m: sorted(_rows(tmp_path, m, "vat"), key=lambda row: (row["key"], row["number"])) for m in ("audio", "text")
    }
    for name, rows in two.items():
        shard = naming.parse_shard_name(name)
        one = [dict(row) for row in whole[name.partition("-")[0]] if naming.shard_of(row["key"], 3)[0] == shard.index]
        vectors = [[row.pop("vector") for row in found] for found in (one, rows)]
        assert one == rows
        np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-6)
    assert _run(export, tmp_path / "other", *flags, "--num_shards=2") == 0
    assert _digests(tmp_path / "other") == first
    table = pq.read_table(tmp_path / "audio-vat-00000-of-00002.parquet")
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[8]"
    order = [(row["key"], row["number"]) for row in table.to_pylist()]
    assert order == sorted(order) and len(order) > 3


def _records(folder, contents):
    with tf.io.TFRecordWriter(str(folder / "bad-00000-of-00001")) as writer:
        for content in contents:
            writer.write(content)
    return folder / "bad-*"


def _good(key, **fields):
    jpeg = cv2.imencode(".jpg", np.full((40, 40, 3), 99, np.uint8))[1].tobytes()
    sound = np.full(8000, 0.1, np.float32)
    settings = dict(video_path="x", start=5.0, end=6.0, jpegs=(jpeg,) * 10, height=40, width=40, waveform=sound)
    return Record(
        **{"key": key, "sample_rate": 8000, "captions": (Caption("a ball", 5.5, 5.75),), **settings, **fields}
    )


def test_bad_records_are_dead_letters_and_the_others_are_embedded(export, tmp_path):
    broken = _good("broken", jpegs=(b"\xff\xd8 no picture",) * 10)
    loud = _good("loud", waveform=np.full(8000, 99.0, np.float32))
    fast = _good("fast", sample_rate=16000)
    bare = _good("bare", jpegs=(), waveform=None)
    contents = [schema.encode(r) for r in (_good("good"), broken, loud, fast, bare)] + [b"no record", b""]
    nan = bytearray(schema.encode(_good("nan", waveform=np.full(8000, 0.125, np.float32))))
    at = nan.find(np.float32(0.125).tobytes() * 8)
    nan[at : at + 4] = np.float32("nan").tobytes()
    pattern = _records(tmp_path, [*contents, bytes(nan)])
    out = tmp_path / "out"
    assert _run(export, out, "--records", pattern, "--num_shards=1", "--batch_size=4") == 0
    dead = collections.Counter((line["path"].rpartition("/")[2], line["key"], line["reason"]) for line in _dead(out))
    shard = "bad-00000-of-00001"
    assert dead == {
        (shard, "record 1", "decode_error"): 1,
        (shard, "record 3", "decode_error"): 1,
        (shard, "record 5", "decode_error"): 1,
        ("loud", "audio at 5 s", "refused_by_module"): 1,
        ("loud", "audio at 5.3 s", "refused_by_module"): 1,
        ("loud", "audio at 5.6 s", "refused_by_module"): 1,
        ("nan", "audio at 5 s", "not_finite"): 1,
    }
    assert "16000 Hz" in next(line["detail"] for line in _dead(out) if line["key"] == "record 3")
    assert "samples in [-1, 1]" in next(line["detail"] for line in _dead(out) if line["path"] == "loud")
    keys = collections.Counter(row["key"] for row in _rows(out, "video", "va"))
    assert keys == {"good": 3, "loud": 3, "nan": 3}
    keys = collections.Counter(row["key"] for row in _rows(out, "audio", "va"))
    assert keys == {"good": 3, "nan": 2}
    texts = _rows(out, "text", "vat")
    assert sorted(row["key"] for row in texts) == ["bare", "broken", "fast", "good", "loud", "nan"]
    assert {(row["start"], row["end"]) for row in texts} == {(5.5, 5.75)}


def test_a_damaged_shard_loses_what_is_damaged(export, tmp_path):
    pattern = _records(tmp_path, [schema.encode(_good(f"k{i}")) for i in range(3)])
    path = tmp_path / "bad-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    out = tmp_path / "out"
    assert _run(export, out, "--records", pattern, "--signatures=text", "--num_shards=1") == 0
    assert [row["key"] for row in _rows(out, "text", "vat")] == ["k0", "k2"]
    (dead,) = _dead(out)
    assert dead["key"] == "record 1" and "checksum" in dead["detail"]


def _picture(path, colour, size=(50, 40)):
    image = np.full((*size, 3), colour, np.uint8)
    image[: size[0] // 2, : size[1] // 2] = 255 - np.array(colour, np.uint8)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return image


def test_pictures(export, module, tmp_path):
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    images = {
        "a.png": _picture(root / "a.png", (200, 40, 40)),
        "sub/b.bmp": _picture(root / "sub/b.bmp", (20, 90, 160), (36, 90)),
    }
    (root / "sub/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    (root / "empty.png").touch()
    (root / "notes.txt").write_text("x")
    (root / "out.jpg").symlink_to("/etc/hostname")
    # A header that promises 60000 x 60000 pixels.
    bomb = bytearray((root / "a.png").read_bytes())
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    (root / "bomb.png").write_bytes(bomb)
    out = tmp_path / "out"
    assert _run(export, out, "--images", root, "--num_shards=1", "--signatures=image,video") == 0
    found = {line["path"]: line["reason"] for line in _dead(out)}
    assert found.pop("bomb.png") in ("too_large", "decode_error")
    assert found.pop("notes.txt") == "ignored_file"
    assert found == {"empty.png": "decode_error", "out.jpg": "outside_root", "sub/broken.jpg": "decode_error"}
    rows = _rows(out, "image", "vat")
    assert [(row["key"], row["number"], row["start"], row["end"]) for row in rows] == [
        ("a.png", 0, None, None),
        ("sub/b.bmp", 0, None, None),
    ]
    ops = tf.image
    for row, video_row, image in zip(rows, _rows(out, "video", "vat"), images.values(), strict=True):
        # Short side to 36 pixels, the middle 32 of them: close to what plain resizing gives, but for the JPEG.
        scale = 36 / min(image.shape[:2])
        height, width = (round(side * scale) for side in image.shape[:2])
        resized = ops.resize(image.astype(np.float32), [height, width], antialias=True).numpy() / 255
        top, left = (height - 32) // 2, (width - 32) // 2
        centre = resized[top : top + 32, left : left + 32]
        vector, direct = (
            np.array(row["vector"]),
            module.signatures["image"](tf.constant(centre[None]))["vat"].numpy()[0],
        )
        assert np.dot(vector, direct) / np.linalg.norm(vector) / np.linalg.norm(direct) > 0.99
        repeated = module.signatures["video"](tf.constant(np.repeat(centre[None, None], 4, 1)))["vat"].numpy()[0]
        vector = np.array(video_row["vector"])
        assert np.dot(vector, repeated) / np.linalg.norm(vector) / np.linalg.norm(repeated) > 0.99


def test_videos_give_the_rows_of_their_records(export, tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    write_video(root / "a.mp4", seconds=1.3)
    write_video(root / "b.mkv", seconds=0.8, codec="mpeg4", sound_codec=None)
    (root / "text.mp4").write_text("not a video")
    (root / "playlist.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    out = tmp_path / "out"
    assert _run(export, out, "--videos", root, "--num_shards=1") == 0
    assert {(line["path"], line["reason"]) for line in _dead(out)} == {
        ("playlist.mp4", "not_a_video"),
        ("text.mp4", "not_a_video"),
    }
    # The same through records, made with the same settings.
    flags = f"--clip_seconds={SECONDS} --fps={RATE} --short_side=36 --sample_rate=8000 --jpeg_quality=95".split()
    made = tmp_path / "records"
    arguments = ["--videos", str(root), "--output", str(made), "--direct_num_workers=1", "--num_shards=1", *flags]
    assert preprocess.main(arguments) == 0
    assert _run(export, tmp_path / "of_records", "--records", made / "train-*", "--num_shards=1") == 0
    for modality in ("video", "audio"):
        rows = _rows(out, modality, "va")
        others = _rows(tmp_path / "of_records", modality, "va")
        others.sort(key=lambda row: (row["key"].partition(":")[0], row["start"]))
        assert [(row["key"], row["start"], row["end"]) for row in rows] == [
            (row["key"].partition(":")[0], row["start"], row["end"]) for row in others
        ]
        _assert_close(rows, np.array([row["vector"] for row in others], np.float32))
    spans = [(row["key"], row["number"], row["start"], row["end"]) for row in _rows(out, "video", "va")]
    assert spans == [
        ("a.mp4", 0, 0.0, 0.4),
        ("a.mp4", 1, 0.4, 0.8),
        ("a.mp4", 2, 0.8, 1.2),
        ("b.mkv", 0, 0.0, 0.4),
        ("b.mkv", 1, 0.4, 0.8),
    ]


def test_every_part_of_the_graph_pickles(export):
    gin_settings = clip_cutter.ClipSettings(4, 10.0, 36, 32, export.loaded.pipeline.audio)
    handler = embed_pipeline.ModuleHandler("m", "video", 8)
    reader = embed_inputs.FileReader("r", Settings(), image_worker.ImageClient, has_times=False)
    parts = [
        handler,
        embed_pipeline.ReadInputs(reader, gin_settings, ("video",), "s"),
        embed_pipeline.ReadInputs(embed_inputs.RecordReader(), gin_settings, ("video",), "s"),
        embed_pipeline.StageVectors("video", ["va"], "s", 2),
        embed_pipeline.WriteFile("o", "s", 2, {("video", "va"): 16}, "c", "m"),
    ]
    for part in parts:
        assert type(pickle.loads(pickle.dumps(part))) is type(part)
        assert type(pickler.loads(pickler.dumps(part))) is type(part)
    # Beam does the same with the whole graph, lambdas and all.
    pipeline = beam.Pipeline()
    embed_pipeline.build(
        *(pipeline, [()], reader, gin_settings, {"video": handler}, {("video", "va"): 16}, "o", "s", 2, "c", "m"),
        {0: ({}, [])},
    )
    assert pipeline.to_runner_api().components.transforms


def test_a_module_is_loaded_once(export, monkeypatch):
    loads = []
    monkeypatch.setattr(embed_pipeline, "_modules", {})
    monkeypatch.setattr(tf.saved_model, "load", lambda folder: loads.append(folder) or object())
    handlers = [embed_pipeline.ModuleHandler("m", name, 2) for name in ("video", "audio", "audio")]
    assert len({id(handler.load_model()) for handler in handlers}) == 1 and loads == ["m"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images", "{images}", "--signatures=audio"], "--images gives image, video, not 'audio'"),
        (["--records", "{records}", "--signatures=smell"], "has the signatures audio, image, text, video, not 'smell'"),
        (["--records", "{records}", "--spaces=vt"], "give before_head, va, vat, not 'vt'"),
        (["--records", "{images}/none-*"], "no file matches"),
        (["--images", "{images}"], "no picture in it"),
        (["--videos", "{images}/none"], "not a folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(export, tmp_path, flags, message, capsys):
    flags = [flag.format(images=tmp_path, records=export.records / "train-*") for flag in flags]
    assert embed.cli(["--module", str(export.module), "--output", str(tmp_path / "out"), *flags]) == 2
    assert message in capsys.readouterr().err.splitlines()[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--module"),
        (["--module=m", "--output=o"], "--records --videos --images"),
        (["--module=m", "--output=o", "--records=r", "--images=i"], "not allowed with"),
        (["--module=m", "--output=o", "--records=r", "--runer=Direct"], "unknown option --runer=Direct"),
        (["--module=m", "--output=o", "--records=r", "--batch_size=0"], "--batch_size must be positive"),
        (["--module=m", "--output=o", "--videos=v", "--timeout_seconds=1e7"], "--timeout_seconds must be at most"),
    ],
)
def test_bad_options_are_named(flags, message, capsys):
    with pytest.raises(SystemExit) as caught:
        embed.main(flags)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_help_needs_no_heavy_import():
    code = (
        "import sys; from mmv_tf.export import embed\n"
        "try: embed.main(['--help'])\n"
        "except SystemExit: print(sorted({'tensorflow', 'apache_beam', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]" and "--signatures" in output


def test_pictures_stand_upright(tmp_path):
    """EXIF orientation 6: the camera was held on its side."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    image = np.zeros((20, 60, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    client = image_worker.ImageClient(Settings(short_side=10))
    try:
        plan, (header, blobs) = client.ask(str(path), [(0.0, None)])
    finally:
        client.close()
    assert isinstance(client, DecodeClient) and plan[0]["plan"] == [[[0], 0.0, 0.0]]
    assert (header["height"], header["width"]) == (30, 10)
    assert cv2.imdecode(np.frombuffer(blobs[0], np.uint8), cv2.IMREAD_COLOR).shape == (30, 10, 3)
