"""Windows and features: what is cut from a record, and that a stopped extraction goes on where it was."""

import dataclasses
import inspect
import re

import gin
import numpy as np
import pytest
import tensorflow as tf

from helpers import record_fixtures as fixtures
from mmv_tf.evaluation import features
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.labelled import Labelled, check_classes, frequencies
from mmv_tf.evaluation.networks import Network
from mmv_tf.evaluation.windows import Windows
from mmv_tf.inputs.video import VideoInput

LATER = ("crops", "sample_stride", "crop_area", "crop_aspect", "box")
VIDEO = dict(num_frames=4, frame_rate=10.0, min_side=40, crop_size=40)
# Traced once for all tests that can do with them.
THREE, SLOW = Windows("video", 3, **VIDEO), Windows("video", 1, **{**VIDEO, "frame_rate": 5.0})


@pytest.fixture
def pattern(tmp_path):
    """Five clips of 12 frames in two shards; frame i is of the grey level 10 + 10 i; the last has no frames."""
    clips = [fixtures.record(f"clip{i}", captions=(f"text {i}", "more"), sound=i != 1) for i in range(4)]
    clips.append(fixtures.record("clip4", num_frames=0, sound=False, captions=(), label=None))
    return fixtures.write_shards(tmp_path, [clips[:3], clips[3:]])


class _Grey:
    """A network that gives the mean grey level of the left of each frame, and counts what passes it."""

    def __init__(self, name="network", checksum="1"):
        self.seen = 0
        self.network = Network(name, checksum, {"video": self._video}, {"video": ("grey",)})

    def _video(self, frames):
        def count(x):
            self.seen += len(x)
            return x.astype(np.float32)

        grey = 255 * tf.reduce_mean(frames[:, :, 10:30, 2:8], axis=[2, 3, 4])
        return {"grey": tf.ensure_shape(tf.numpy_function(count, [grey], tf.float32), [None, 4])}


def _extract(grey, pattern, windows, **options):
    return Extractor(**options).extract({"it": (grey.network, "grey")}, windows, pattern)["it"]


def test_windows_are_spaced_evenly_from_the_first_frame_to_the_last(pattern):
    found = _extract(_Grey(), pattern, THREE, batch_size=4)
    assert found.keys == tuple(f"clip{i}" for i in range(5)) and found.labels == (("name",),) * 4 + ((),)
    levels = 10 + 10 * np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    np.testing.assert_allclose(found.values[:4], np.tile(levels, (4, 1, 1)), atol=3)
    assert found.present.tolist() == [[True] * 3] * 4 + [[False] * 3]


def test_crops_are_windows_of_their_own_in_a_row(pattern):
    """Frames are 40 x 48 pixels, grey on the left and noise on the right: the crops of 40 pixels move 0, 4 and 8."""

    def windows(**more):
        found = dataclasses.replace(THREE, **more).dataset([(pattern.replace("*", "00001-of-00002"), 2, 0, 2)])
        (batch,) = found.batch(18)
        return {name: value.numpy() for name, value in batch.items()}

    one, three = windows(), windows(crops=3)
    for name in one:  # of each window the second of three is that of one
        np.testing.assert_array_equal(three[name][1::3], one[name])
    for name in ("present", "key", "labels"):
        np.testing.assert_array_equal(three[name], np.repeat(one[name], 3))
    assert three["present"].tolist() == [True] * 9 + [False] * 9 and not three["input"][9:].any()
    for window, start in enumerate((0, 4, 8)):  # records of 12 frames, windows of 4
        jpegs = fixtures.record("clip3").jpegs[start : start + 4]
        whole = np.stack([tf.io.decode_jpeg(jpeg).numpy() for jpeg in jpegs])
        for crop, left in enumerate((0, 4, 8)):
            np.testing.assert_array_equal(three["input"][3 * window + crop], whole[:, :, left : left + 40])


def test_features_of_crops_are_kept_by_their_number(pattern, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_WINDOWS_A_PART", 9)  # a record of 9 views: parts are whole records
    options = dict(cache=str(tmp_path / "cache"), batch_size=6)
    one = _extract(_Grey(), pattern, THREE, **options)
    again, grey = _Grey(), _Grey()
    three = _extract(grey, pattern, dataclasses.replace(THREE, crops=3), **options)
    assert grey.seen == 8 * 6 and three.values.shape == (5, 9, 4) and three.keys == one.keys
    np.testing.assert_array_equal(three.values[:, 1::3], one.values)
    assert not np.array_equal(three.values[:4, 2::3], one.values[:4])
    np.testing.assert_array_equal(_extract(again, pattern, THREE, **options).values, one.values)
    assert again.seen == 0
    assert Windows("video", 2).settings() == {
        name: value
        for name, value in dataclasses.asdict(Windows("video", 2)).items()
        if name not in LATER  # features of versions without them are found
    }


def test_what_a_run_does_to_frames_is_not_asked(monkeypatch):
    """All settings of VideoInput are the protocol's, but for how colours are computed and what is done to a batch."""
    ranges = {"brightness": 32 / 255, "saturation": 0.4, "contrast": 0.4, "hue": 0.2}
    gin.parse_config([f"VideoInput.{name} = 0.01" for name in ranges])
    gin.parse_config(["VideoInput.crop_aspect = (1.0, 1.1)", "VideoInput.blur_sigma = (1.0, 1.0)"])
    coloured = Windows("video", 2, True, colour_probability=0.8, crop_area=(0.1, 1.0))
    made = coloured._video()
    assert {name: getattr(made, name) for name in ranges} == ranges
    assert (made.crop_aspect, made.blur_sigma) == ((3 / 4, 4 / 3), (0.1, 2.0))
    monkeypatch.setattr("mmv_tf.evaluation.windows.VideoInput", dict)
    others = {"jit_compile", "value_range", "mean", "deviation"}
    assert coloured._video().keys() == inspect.signature(VideoInput).parameters.keys() - others
    # What differed by the run has another key than it had; other windows keep theirs.
    told = [dataclasses.replace(coloured, **change).settings() for change in ({}, {"colour_probability": 0.0})]
    assert {name: told[0][name] for name in ranges} == ranges and not ranges.keys() & told[1].keys()
    assert not ranges.keys() & dataclasses.replace(coloured, random=False).settings().keys()


def test_random_windows_and_sound_have_no_crops():
    for wrong in (dict(modality="video", random=True), dict(modality="audio")):
        with pytest.raises(ValueError, match="only windows of video that are not random can have several crops"):
            Windows(crops=3, **wrong)


def test_a_stride_is_a_lower_rate(pattern):
    found = _extract(_Grey(), pattern, SLOW, batch_size=4)
    np.testing.assert_allclose(found.values[0, 0], 10 + 10 * np.array([2, 4, 6, 8]), atol=3)


def test_random_windows_depend_on_seed_key_and_number_alone(pattern):
    def levels(seed, files):
        return _extract(_Grey(), files, Windows("video", 6, True, seed=seed, **VIDEO), batch_size=5).values

    first = levels(0, pattern)
    np.testing.assert_array_equal(first[3], levels(0, pattern.replace("train-*", "train-00001*"))[0])
    assert len({round(float(start)) for start in first[0, :, 0]}) > 2 and not np.allclose(first[0], first[1], atol=3)
    assert not np.allclose(first, levels(1, pattern), atol=3)


def test_sound_and_texts_are_windows_too(pattern):
    windows = Windows("audio", 2, seconds=0.6, sample_rate=fixtures.SAMPLE_RATE)
    batch = next(iter(windows.dataset([(pattern.replace("*", "00000-of-00002"), 3, 0, 3)]).batch(6)))
    assert batch["input"].shape == (6, 600) and batch["present"].numpy().tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    # Sample s of 1,200 is s / 1200: the windows are the first and the last 0.6 s.
    np.testing.assert_allclose(batch["input"][:2, 0], [0, 0.5], atol=1e-6)
    texts = next(iter(Windows("text", 3).dataset([(pattern.replace("*", "00001-of-00002"), 2, 0, 2)]).batch(6)))
    assert texts["input"].numpy().tolist() == [b"text 3", b"more", b"", b"", b"", b""]
    assert texts["present"].numpy().tolist() == [True, True, False, False, False, False]


def test_every_other_sample_of_twice_the_time(pattern):
    file = [(pattern.replace("*", "00000-of-00002"), 3, 0, 3)]
    whole, half = (
        next(iter(Windows("audio", 2, seconds=0.6, sample_rate=fixtures.SAMPLE_RATE, sample_stride=n).dataset(file)))
        for n in (1, 2)
    )
    assert half["input"].shape == (300,)
    np.testing.assert_array_equal(half["input"], whole["input"][::2])


def test_a_stopped_extraction_goes_on_where_it_was(pattern, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_WINDOWS_A_PART", 3)  # one record of three windows
    cache = str(tmp_path / "cache")
    expected = _extract(_Grey(), pattern, THREE)

    class Stop(Exception):
        pass

    def stop():
        calls.append(1)
        if len(calls) == 3:
            raise Stop

    calls, first = [], _Grey()
    with pytest.raises(Stop):
        _extract(first, pattern, THREE, cache=cache, batch_size=3, stop=stop)
    (folder,) = (tmp_path / "cache").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [f"{i:08d}.npz" for i in range(3)]
    second = _Grey()
    found = _extract(second, pattern, THREE, cache=cache, batch_size=3)
    assert second.seen == 6  # two records of three windows were left
    np.testing.assert_array_equal(found.values, expected.values)
    third = _Grey()
    again = _extract(third, pattern, THREE, cache=cache)
    assert third.seen == 0 and again.keys == expected.keys and again.labels == expected.labels
    np.testing.assert_array_equal(again.present, expected.present)


def test_other_weights_windows_or_records_are_other_features(pattern, tmp_path):
    cache = str(tmp_path / "cache")
    _extract(_Grey(), pattern, THREE, cache=cache)
    for change in ("nothing", "weights", "windows", "records"):
        other = _Grey(checksum="2" if change == "weights" else "1")
        if change == "records":
            fixtures.write_shards(tmp_path, [[fixtures.record("new")], []])
        found = _extract(other, pattern, SLOW if change == "windows" else THREE, cache=cache)
        assert found.keys[0] == ("new" if change == "records" else "clip0"), change
        assert (other.seen > 0) == (change != "nothing"), change


def test_networks_share_one_pass_and_only_missing_ones_run(pattern, tmp_path):
    cache = str(tmp_path / "cache")
    _extract(_Grey(), pattern, THREE, cache=cache)
    old, new = _Grey(), _Grey("untrained", "3")
    wanted = {"it": (old.network, "grey"), "other": (new.network, "grey")}
    found = Extractor(cache, batch_size=5).extract(wanted, THREE, pattern)
    assert (old.seen, new.seen) == (0, 15)
    np.testing.assert_array_equal(found["it"].values, found["other"].values)


class _Levels:
    """A network that gives every pixel as it is."""

    def __init__(self, modality):
        functions = {modality: lambda frames: {"levels": tf.reshape(255 * frames, [frames.shape[0], -1])}}
        self.network = Network("network", "1", functions, {modality: ("levels",)})


PARTS = dict(crop_area=(0.2, 1.0), crop_aspect=(0.5, 2.0), flip_probability=0.5)
FORMS = {
    "crops": Windows("video", 2, crops=3, **{**VIDEO, "num_frames": 2, "crop_size": 30, "min_side": 36}),
    "parts": Windows("video", 2, True, **PARTS, **{**VIDEO, "num_frames": 2}),
    "image": Windows("image", 2, min_side=36, crop_size=36),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_accelerator_finishes_what_the_host_does_and_features_are_kept_apart(name, pattern, tmp_path):
    windows = FORMS[name]
    wanted, found = {"it": (_Levels(windows.modality).network, "levels")}, {}
    cache = str(tmp_path / "cache")
    for form in (False, True, True):
        extractor = Extractor(cache, batch_size=4, on_accelerator=form)
        found[form] = extractor.extract(wanted, windows, pattern)["it"]
        assert (extractor.form(windows, pattern).box is not None) == form
    ours, theirs = found[True], found[False]
    assert ours.keys == theirs.keys and ours.present.tolist() == theirs.present.tolist()
    values = [one.values[theirs.present] for one in (ours, theirs)]
    assert values[1].std() > 20 and not ours.values[~theirs.present].any()
    difference = np.abs(values[0] - values[1])
    assert difference.max() < 1.01 and (difference > 0.01).mean() < 0.03
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_has_no_frames_has_one_form(pattern):
    for windows in (Windows("text", 1), Windows("audio", 1, seconds=0.3, sample_rate=fixtures.SAMPLE_RATE)):
        assert Extractor(on_accelerator=True).form(windows, pattern) is windows


def test_labels_are_read_without_decoding(pattern):
    found = Labelled.read([pattern], "video", "", "setting")
    assert found.keys == ("clip0", "clip1", "clip2", "clip3") and found.classes == ("name",)
    assert found.left_out == {"no video": 1, "no label": 0}
    with pytest.raises(ValueError, match="all 4 training clips are of class 'name'"):
        check_classes(found.names, found.names, found.classes, several=False)


def test_chance_knows_the_frequencies_and_what_cannot_be_told_is_named():
    one, several = [("b",), ("a",), ("b",), ("c",)], [("a", "b"), ("b",), (), ("a", "b", "c")]
    found = frequencies(one, ("a", "b", "c"), False, 2)
    np.testing.assert_array_equal(found, [[1, 2 - 1e-9 * 3 * 1, 1 - 1e-9 * 3 * 2]] * 2)
    np.testing.assert_array_equal(frequencies(several, ("a", "b", "c"), True, 1), [[0.5, 0.75, 0.25]])
    check_classes(several, [("z",)], ("a", "b", "c"), several=True)  # of several labels one is not learned
    with pytest.raises(ValueError, match=r"^class 'y' of the test set has no training clip \(2 such classes\)$"):
        check_classes(one, [("a",), ("z",), ("y",)], ("a", "b", "c"), several=False)
    with pytest.raises(ValueError, match="^all 2 training clips are of class 'b': nothing to tell it from$"):
        check_classes(several[:2], [], ("a", "b"), several=True)


def _files(pattern):
    return sorted(tf.io.gfile.glob(pattern))


def test_keys_are_told_apart_by_their_bytes(tmp_path):
    """Two names that are not UTF-8 look alike when they are shown."""
    clips = [fixtures.record(f"caf_{i}", num_frames=1, label=i, label_name="ab"[i]) for i in range(2)]
    pattern = fixtures.write_shards(tmp_path, [clips], card=False)
    stored = [one.numpy() for one in tf.data.TFRecordDataset(_files(pattern))]
    with tf.io.TFRecordWriter(_files(pattern)[0]) as writer:
        for one, byte in zip(stored, (b"\xe8", b"\xe9"), strict=True):
            writer.write(re.sub(rb"caf_\d(?!\.)", b"caf_" + byte, one))
    found = Labelled.read([pattern], "video", "", "setting")
    assert found.keys == ("caf_\ufffd", "caf_\ufffd") and found.stored_keys == (b"caf_\xe8", b"caf_\xe9")
    find = found.finder()
    numbers = [find(one) for one in tf.data.TFRecordDataset(_files(pattern))]
    assert [(bool(there), int(number)) for there, number in numbers] == [(True, 0), (True, 1)]


def test_a_key_that_comes_twice_is_an_error(tmp_path):
    clips = [fixtures.record("twin", num_frames=1, label=i, label_name="ab"[i]) for i in range(2)]
    with pytest.raises(ValueError, match="train-.*: two clips have the key 'twin'"):
        Labelled.read([fixtures.write_shards(tmp_path, [clips])], "video", "", "setting")


def test_an_empty_caption_is_none(tmp_path):
    clips = [fixtures.record("a", num_frames=1, captions=("", "said", "")), fixtures.record("b", captions=("",))]
    pattern = fixtures.write_shards(tmp_path, [clips])
    ranges = [(pattern.replace("*", "00000-of-00001"), 2, 0, 2)]
    found = [
        (one["input"].numpy(), bool(one["present"]), one["labels"].numpy())
        for one in Windows("text", 2).dataset(ranges)
    ]
    assert found == [(b"said", True, b"said"), (b"", False, b"said"), (b"", False, b""), (b"", False, b"")]


def test_few_clips_are_drawn_of_every_class_by_the_seed():
    labels = tuple("ab"[i % 2] for i in range(40))
    clips = Labelled(("x",), tuple(b"%d" % i for i in range(40)), labels, ("a", "b"), {})
    draws = [clips.draw(3, seed) for seed in (0, 0, 1)]
    assert draws[0].keys == draws[1].keys != draws[2].keys
    assert [key.decode() for key in draws[0].stored_keys] == list(draws[0].keys)
    assert sorted(draws[0].labels) == ["a"] * 3 + ["b"] * 3
    with pytest.raises(ValueError, match="class 'a' has 20 training clips, and 21 are wanted"):
        clips.draw(21, 0)
