"""Images to deflate with: what is read, what is refused, which are held out."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny
from mmv_tf.deflation import images
from mmv_tf.deflation.images import Crops, Images
from mmv_tf.inputs.video import VideoInput


def write(path, size=(40, 50), seed=0, channels=3):
    pixels = np.random.RandomState(seed).randint(0, 256, (*size, channels), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return str(path)


def test_files_of_all_kinds(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "below" / "b.PNG", seed=1)
    write(tmp_path / "grey.png", channels=1, seed=2)
    write(tmp_path / "clear.png", channels=4, seed=3)
    (tmp_path / "misnamed.jpg").write_bytes((tmp_path / "grey.png").read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    found = images.load(str(tmp_path), most=10, per_record=1)
    assert sorted(name.rpartition("/")[2] for name in found.names) == [
        *("a.jpg", "b.PNG", "clear.png", "grey.png", "misnamed.jpg"),
    ]
    shapes = {tf.io.decode_jpeg(jpeg, channels=3).shape.as_list().__str__() for jpeg in found.jpegs}
    assert shapes == {"[40, 50, 3]"}
    assert len(set(found.groups)) == 4  # the same bytes under two names are one group
    # A choice of many is the same each time, and does not depend on the folder.
    some = images.load(str(tmp_path), most=3, per_record=1)
    assert some.names == found.names[:3]
    assert images.load(str(tmp_path), most=5, per_record=1, seed=1).names != found.names
    assert len(images.load(str(tmp_path / "*.png"), most=10, per_record=1)) == 2


def test_bad_files_are_named(tmp_path):
    whole = open(write(tmp_path / "whole" / "a.jpg"), "rb").read()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    for name in ("cut.jpg", "text.png"):
        with pytest.raises(ValueError, match=f"{name} is no image that can be read"):
            images.from_files(str(tmp_path / name), 10)
    with pytest.raises(ValueError, match="notes.txt is no image: --images takes files that end in .jpg"):
        (tmp_path / "notes.txt").write_text("no image")
        images.from_files(str(tmp_path / "not*"), 10)
    with pytest.raises(ValueError, match=r"nothing-\*.jpg' holds no image"):
        images.from_files(str(tmp_path / "nothing-*.jpg"), 10)
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    (tmp_path / "bomb.png").write_bytes(header + bytes(50))
    with pytest.raises(ValueError, match="bomb.png has 50000 x 50000 pixels"):
        images.from_files(str(tmp_path / "bomb.png"), 10)


def test_frames_of_records(tmp_path):
    pattern = tiny.make_records(tmp_path, count=6, shards=2, frames=10)
    found = images.load(pattern, most=100, per_record=4)
    assert len(found) == 24 and len(set(found.groups)) == 6
    assert {name.rpartition(" ")[2] for name in found.names} == {"1", "3", "6", "8"}  # of ten frames
    assert "record 'clip003', frame 6" in found.names
    assert len(images.from_records(pattern, 7, 4)) == 7
    assert images.from_records(pattern, 7, 4).names == found.names[:7]
    with pytest.raises(ValueError, match="no file matches"):
        images.load(str(tmp_path / "other-*"), 1, 1)


def test_split_keeps_groups_together():
    count = 200
    many = Images(
        tuple(b"%d" % i for i in range(count)),
        tuple(map(str, range(count))),
        tuple(b"%d" % (i // 4) for i in range(count)),
    )
    learn, apart = many.split(0.1)
    assert len(apart) == 20 and len(learn) == 180
    assert not set(learn.groups) & set(apart.groups)
    assert sorted(learn.names + apart.names) == sorted(many.names)
    assert many.split(0.1)[1].names == apart.names
    two = many.take([0, 100])
    assert [len(side) for side in two.split(0.9)] == [1, 1]
    with pytest.raises(ValueError, match="4 image.s. of one file or video: at least two are needed"):
        many.take(range(4)).split(0.5)


def test_crops(tmp_path):
    for seed in range(3):
        write(tmp_path / f"{seed}.jpg", size=(60, 50 + 10 * seed), seed=seed)
    found = images.from_files(str(tmp_path), 10)
    video = VideoInput(num_frames=4, min_side=36, crop_size=32)
    crops = Crops(found, video, per_image=2, seed=5)
    assert len(crops) == 6 and crops.name(3) == found.names[1] and video.num_frames == 4
    (first, numbers), (second, _) = list(crops.batches([0, 1, 5, 0], 3))
    assert first.shape == (3, 32, 32, 3) and first.dtype == tf.uint8 and numbers.numpy().tolist() == [0, 1, 5]
    np.testing.assert_array_equal(second[0], first[0])  # a crop is always the same
    assert not np.array_equal(first[0], first[1])
    centres = Crops(found, video, per_image=0)
    assert len(centres) == 3
    (batch, _), *_ = centres.batches(range(3), 3)
    np.testing.assert_array_equal(batch[1], video.evaluation_clip(tf.constant([found.jpegs[1]] * 4))[0])
