"""Datasets through the whole command, from annotation files to what lies in the folder."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from helpers import annotations
from helpers.annotations import write
from helpers.videos import numbers, write_video
from mmv_tf.beam import preprocess
from mmv_tf.beam.datasets import catalog, imagenet
from mmv_tf.records import card as dataset_card
from mmv_tf.records import schema

SMALL = ["--num_shards=1", "--short_side=32", "--direct_num_workers=1"]


def _run(*flags):
    return preprocess.cli([*map(str, flags), *SMALL])


def _records(folder, split):
    parsed = map(schema.parse, tf.data.TFRecordDataset(str(folder / f"{split}-00000-of-00001")))
    return {record["key"].numpy().decode(): record for record in parsed}


def test_splits_of_a_dataset(tmp_path, capsys):
    """A file is one clip, whatever its length; ids are those of classInd.txt, in all splits."""
    _, request, _ = annotations.ucf101(tmp_path)
    write_video(tmp_path / "UCF-101/YoYo/v_YoYo_g08_c01.avi", seconds=17, codec="mpeg4", fps=10, sound_codec=None)
    write_video(tmp_path / "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", codec="mpeg4", sound_codec=None)
    write_video(tmp_path / "UCF-101/YoYo/v_YoYo_g01_c01.avi", codec="mpeg4", sound_codec=None)
    out = tmp_path / "records"
    where = ("--videos", request.root, "--annotations", request.annotations, "--output", out)
    assert _run("--dataset=ucf101", *where, "--split=train,test") == 0
    train, test = _records(out, "train"), _records(out, "test")
    assert sorted(train) == [
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi:0-2",
        "YoYo/v_YoYo_g08_c01.avi:0-17",
    ]
    assert len(train["YoYo/v_YoYo_g08_c01.avi:0-17"]["video"]) == 170
    assert [record["label"].numpy().tolist() for _, record in sorted(train.items())] == [[0], [2]]
    (record,) = test.values()
    assert record["label"].numpy().tolist() == [2]
    card = dataset_card.load(out)
    assert card.label_map == {"ApplyEyeMakeup": 0, "ApplyLipstick": 1, "YoYo": 2}
    assert [card.splits[name].counters["reasons"] for name in ("train", "test")] == [{"missing_file": 1}] * 2
    dead = [json.loads(line) for line in (out / "dead_letters.jsonl").read_text().splitlines()]
    assert sorted((line["split"], line["path"]) for line in dead) == [
        ("test", "v_ApplyEyeMakeup_g01_c01"),
        ("train", "v_ApplyEyeMakeup_g08_c02"),
    ]
    assert "trainlist01.txt: line 4: no file of this name" in dead[1]["detail"] + dead[0]["detail"]
    assert capsys.readouterr().out.count("1 missing_file") == 2


def test_a_fold_is_a_split(tmp_path):
    _, request, _ = annotations.esc50(tmp_path)
    for name in ("1-100032-A-0", "1-17092-A-27", "2-104105-A-1"):
        write_video(tmp_path / f"audio/{name}.wav", seconds=1, codec=None, sound_codec="pcm_s16le")
    where = ("--videos", tmp_path, "--output", tmp_path / "records")
    assert _run("--dataset=esc50", *where, "--split=fold1") == 0
    first = _records(tmp_path / "records", "fold1")
    assert {key: record["label"].numpy().tolist() for key, record in first.items()} == {
        "audio/1-100032-A-0.wav:0-1": [0],
        "audio/1-17092-A-27.wav:0-1": [27],
    }
    assert first["audio/1-100032-A-0.wav:0-1"]["audio"].shape == [48000]


def test_clips_with_narrations(tmp_path):
    _, request, (file,) = annotations.howto100m(tmp_path)
    write_video(tmp_path / "videos/a/-zEVJRZ8zQY.mp4", seconds=12, fps=2)
    write(file, json.dumps({"-zEVJRZ8zQY": {"start": [3.0, 6.5], "end": [4.0, 9.5], "text": ["one", "two"]}}))
    flags = ("--min_clip_seconds=2", "--fps=2", "--max_caption_gap=2")
    where = ("--videos", request.root, "--annotations", file, "--output", tmp_path / "records")
    assert _run("--dataset=howto100m", *where, *flags) == 0
    found = _records(tmp_path / "records", "train")
    # The second clip is 2.0 s from the first narration, the first one 2.0 s from the second.
    one, two = found["a/-zEVJRZ8zQY.mp4:2.5-4.5"], found["a/-zEVJRZ8zQY.mp4:6.5-9.5"]
    assert len(found) == 2
    assert numbers(one["video"].numpy()) == [5, 6, 7, 8] and numbers(two["video"].numpy()) == [13, 14, 15, 16, 17, 18]
    assert one["text"].numpy().tolist() == [b"one", b"two"] and two["text"].numpy().tolist() == [b"two"]


def test_pictures(tmp_path):
    _, request, _ = annotations.voc2007(tmp_path)
    pictures = tmp_path / "VOCdevkit/VOC2007/JPEGImages"
    for name in ("000005", "000007"):
        cv2.imwrite(str(pictures / f"{name}.jpg"), np.full((60, 80, 3), 128, np.uint8))
    assert _run("--dataset=voc2007", "--videos", tmp_path, "--split=trainval", "--output", tmp_path / "records") == 0
    found = {key.split(":")[0]: record for key, record in _records(tmp_path / "records", "trainval").items()}
    first = found["VOCdevkit/VOC2007/JPEGImages/000005.jpg"]
    # Bottle, chair, and a person that is difficult.
    assert first["label"].numpy().tolist() == [4, 8, 34] and len(first["video"]) == 1
    assert cv2.imdecode(np.frombuffer(first["video"][0].numpy(), np.uint8), cv2.IMREAD_COLOR).shape == (32, 43, 3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What tensorflow_datasets makes of ImageNet, with three classes and two files a split."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=["n01440764", "n01443537", "n01484850"]),
            "file_name": tfds.features.Text(),
        }
    )

    folder = tmp_path_factory.mktemp("tfds") / "imagenet2012/5.1.0"
    folder.mkdir(parents=True)
    splits = []
    for split, first in [("train", 0), ("validation", 6)]:
        name = f"imagenet2012-{split}.tfrecord-00000-of-00001"
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for n in range(first, first + 6):
                picture = np.full((40, 50, 3), 20 * n, np.uint8)
                example = features.encode_example({"image": picture, "label": n % 3, "file_name": f"n_{n}.JPEG"})
                writer.write(features.serialize_example(example))
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[6],
                num_bytes=0,
                filename_template=tfds.core.ShardedFileTemplate(
                    data_dir=folder, dataset_name="imagenet2012", split=split, filetype_suffix="tfrecord"
                ),
            )
        )
    tfds.folder_dataset.write_metadata(data_dir=str(folder), features=features, split_infos=splits)
    return folder


def test_imagenet(prepared):
    request = annotations.Request(str(prepared.parent.parent), "", "validation")
    inputs = catalog.read("imagenet", request)
    assert inputs.labels == ("n01440764", "n01443537", "n01484850")
    (source,) = inputs.sources
    assert source == ("imagenet2012/5.1.0/imagenet2012-validation.tfrecord-00000-of-00001", (), "tfds")
    found = list(imagenet.images(prepared.parent.parent / source.path, prepared.parent.parent / source.path))
    assert [(name, labels) for name, _, labels in found] == [
        (f"n_{n}.JPEG", (inputs.labels[n % 3],)) for n in range(6, 12)
    ]
    (picture,) = [cv2.imdecode(np.frombuffer(data, np.uint8), 1) for name, data, _ in found if name == "n_7.JPEG"]
    assert picture.shape == (40, 50, 3) and abs(float(picture.mean()) - 140) < 2
    (same,) = catalog.read("imagenet", request._replace(root=str(prepared))).sources
    assert same.path == "imagenet2012-validation.tfrecord-00000-of-00001"
    with pytest.raises(ValueError, match="no split test; it has train, validation"):
        catalog.read("imagenet", request._replace(split="test"))


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[]", "null", '{"splits": 7, "sequence": 7}'])
def test_damaged_descriptions_of_imagenet_are_one_line(prepared, tmp_path, name, content):
    for file in prepared.glob("*.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path}: tensorflow_datasets cannot read it"):
        catalog.read("imagenet", annotations.Request(str(tmp_path), "", "train"))


def test_imagenet_through_the_command(prepared, tmp_path):
    flags = ("--videos", prepared, "--split=validation", "--output", tmp_path)
    assert _run("--dataset=imagenet", *flags) == 0
    found = _records(tmp_path, "validation")
    key = "imagenet2012-validation.tfrecord-00000-of-00001:n_7.JPEG"
    assert len(found) == 6 and found[key]["label"].numpy().tolist() == [1]
    assert dataset_card.load(tmp_path).label_map == {"n01440764": 0, "n01443537": 1, "n01484850": 2}


def test_damaged_files_of_tfds(prepared, tmp_path):
    (file,) = prepared.glob("*-train*")
    for path in prepared.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = file.read_bytes()
    for damaged in (data[:-100], data[:700] + b"x" + data[701:]):
        (tmp_path / file.name).write_bytes(damaged)
        with pytest.raises(ValueError, match="imagenet2012-train.tfrecord.*: record"):
            list(imagenet.images(tmp_path / file.name, tmp_path / file.name))
    with pytest.raises(ValueError, match="expected a folder prepared by tensorflow_datasets"):
        catalog.read("imagenet", annotations.Request(str(tmp_path / "gone"), "", "train"))
    write(tmp_path / "features.json", "{")
    with pytest.raises(ValueError, match="tensorflow_datasets cannot read it") as caught:
        catalog.read("imagenet", annotations.Request(str(tmp_path), "", "train"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset=ucf101"], "give either --videos or --manifest"),
        (["--dataset=ucf101", "--manifest=a.csv", "--video_root=."], "--dataset needs --videos"),
        (["--dataset=ucf1"], "invalid choice: 'ucf1'"),
        (["--dataset=ucf101", "--videos=.", "--split=val"], "--split val: ucf101 has train, test"),
        (["--dataset=ucf101", "--videos=.", "--split=train,,test"], "--split must be a word, not ''"),
        (["--dataset=ucf101", "--videos=.", "--fold=4"], "--fold: invalid choice: 4"),
        (["--dataset=esc50", "--videos=.", "--fold=1"], "--fold is for datasets that have it, not for esc50"),
        (["--dataset=ucf101", "--videos=.", "--files=cut"], "--files is for datasets that have it, not for ucf101"),
        (["--videos=.", "--annotations=a.csv"], "--annotations is for datasets that have it"),
        (["--videos=.", "--split=train,test"], "several splits in one --split are for a --dataset"),
        (["--manifest=a.csv", "--video_root=.", "--captions=."], "--captions belongs to --videos"),
        (["--dataset=howto100m", "--videos=.", "--min_clip_seconds=0"], "--min_clip_seconds must be positive"),
    ],
)
def test_bad_options_are_named(tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as caught:
        preprocess.cli([*flags, f"--output={tmp_path}"])
    assert caught.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_a_wrong_file_ends_the_command_in_one_line(tmp_path, capsys):
    _, request, _ = annotations.kinetics600(tmp_path)
    wrong = write(tmp_path / "wrong.csv", "name,age\nx,7\n")
    flags = ["--videos", request.root, "--annotations", str(wrong), "--output", str(tmp_path / "records")]
    assert preprocess.cli(["--dataset=kinetics600", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "wrong.csv: line 1: no column label" in line or "no column youtube_id" in line
    assert "https://github.com/cvdfoundation/kinetics-dataset" in line
    assert not (tmp_path / "records").exists()


def test_an_output_that_is_no_folder_is_one_line(tmp_path, capsys):
    _, request, _ = annotations.kinetics600(tmp_path)
    (tmp_path / "records").touch()
    flags = ["--dataset=kinetics600", "--videos", request.root, "--annotations", str(tmp_path)]
    assert preprocess.cli([*flags, f"--output={tmp_path}/records"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "records: cannot be made" in line


def test_help_lists_the_datasets(capsys):
    with pytest.raises(SystemExit):
        preprocess.cli(["--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {name}" in shown for name in catalog.DATASETS)
