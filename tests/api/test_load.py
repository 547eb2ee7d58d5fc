"""`mmv_tf.load`: the same vectors from a workdir, an export and a released file, as from the module itself."""

import dataclasses
import subprocess
import sys
import threading
import warnings

import cv2
import gin
import numpy as np
import pytest
import tensorflow as tf

import mmv_tf
from helpers import tiny, tiny_export
from helpers.videos import write_video
from mmv_tf.api.model import Model
from mmv_tf.api.windows import Row, Windows, rows
from mmv_tf.common import config
from mmv_tf.export.embedding.clip_cutter import ClipCutter, ClipSettings
from mmv_tf.records import schema


@pytest.fixture(scope="module")
def exported():
    with tiny_export.loaded_once():
        yield mmv_tf.load(tiny_export.export().module)


@pytest.fixture(scope="module")
def trained():
    with tiny_export.loaded_once():
        yield mmv_tf.load(tiny_export.export().workdir)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    # Four frames at 10 Hz are a window of .4 s: these are two windows and five.
    write_video(folder / "short.mp4", seconds=0.8, beep_at=0.1)
    write_video(folder / "long.mp4", seconds=2.0)
    write_video(folder / "mute.mp4", seconds=0.8, sound_codec=None)
    write_video(folder / "tone.wav", seconds=1.0, codec=None, sound_codec="pcm_s16le")
    cv2.imwrite(str(folder / "picture.png"), np.full((50, 60, 3), (40, 90, 200), np.uint8))
    (folder / "broken.mp4").write_text("no film")
    return folder


def _of_signature(name, value):
    found = tiny_export.module().signatures[name](tf.constant(value))
    return {key: rows.numpy() for key, rows in found.items()}


def test_a_row_is_what_the_signature_gives(exported):
    inputs = tiny_export.inputs()
    found = exported.embed(
        video=inputs["video"],
        image=list(inputs["image"]),
        text=[text.decode() for text in inputs["text"]],
        audio=[wave[:3200] for wave in inputs["audio"]],
        representations=True,
    )
    given = {**inputs, "audio": inputs["audio"][:, :3200]}  # one window
    for modality, of_modality in found.items():
        expected = _of_signature(modality, given[modality])
        for space in ("va", "vat") if modality != "text" else ("vat",):
            np.testing.assert_allclose(of_modality[space], expected[space], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(of_modality["before_head"], expected["before_head"], rtol=1e-4, atol=1e-6)
    assert list(found) == ["video", "image", "audio", "text"]


def test_a_workdir_gives_what_its_export_gives(exported, trained):
    inputs = tiny_export.inputs()
    given = {"video": inputs["video"], "image": inputs["image"], "text": "a red ball"}
    ours, theirs = trained.embed(**given), exported.embed(**given)
    for modality in given:
        for space, vectors in theirs[modality].items():
            np.testing.assert_allclose(ours[modality][space], vectors, rtol=1e-3, atol=1e-5)
    cut = [dataclasses.replace(model._networks.clips, audio=None) for model in (trained, exported)]
    assert cut[0] == cut[1]  # what both make of files
    assert trained.spaces == exported.spaces
    assert trained.spaces == {
        "video": {"va": 16, "vat": 8}, "image": {"va": 16, "vat": 8}, "audio": {"va": 16, "vat": 8}, "text": {"vat": 8}
    }  # fmt: skip
    assert (trained.seconds, trained.frame_rate, trained.sample_rate) == (0.4, 10.0, tiny.SAMPLE_RATE)


def test_a_picture_in_a_file_is_one_in_an_array(exported, films):
    path = films / "picture.png"
    found, expected = _windows(exported, [path, cv2.imread(str(path))[..., ::-1]], "image")
    assert found.shape == expected.shape == (32, 32, 3) and found.dtype == expected.dtype == np.uint8
    np.testing.assert_allclose(found, expected, atol=2)  # it comes as a JPEG


def test_a_file_is_the_mean_of_its_windows_whatever_the_batch(exported, films):
    paths = [str(films / name) for name in ("long.mp4", "short.mp4")]
    found = exported.embed(video=paths, audio=paths, batch_size=3)
    again = exported.embed(video=paths[::-1])["video"]["va"]
    np.testing.assert_allclose(found["video"]["va"], again[::-1], rtol=1e-4, atol=1e-6)
    assert found["audio"]["va"].shape == (2, 16) and found["audio"]["va"].dtype == np.float32
    pieces = _windows(exported, paths[0])
    assert len(pieces) == 5 and pieces[0].shape == (4, 32, 32, 3)
    each = exported.embed(video=pieces)["video"]["va"]
    np.testing.assert_allclose(found["video"]["va"][0], each.mean(axis=0), rtol=1e-4, atol=1e-6)


def _windows(model, given, modality="video"):
    with model._windows as cutting:
        return [window for row in rows(modality, given) for window in cutting.of(modality, row)]


@pytest.fixture(scope="module")
def cutter(exported):
    return ClipCutter(exported._networks.clips, ["video"])


def _grey_jpeg(level):
    return cv2.imencode(".jpg", np.full((40, 40, 3), level, np.uint8))[1].tobytes()


@pytest.mark.parametrize(("count", "rate"), [(3, 10.0), (4, 10.0), (11, 10.0), (23, 10.0), (24, 25.0)])
def test_an_array_is_cut_as_a_file_is(exported, cutter, count, rate):
    """Against the cutter of the embedding job: frames are grey levels that say which they are."""
    levels = [10 * n for n in range(count)]
    frames = np.stack([np.full((40, 40, 3), level, np.uint8) for level in levels])
    record = schema.Record(
        key="a", video_path="a", start=0.0, end=count / rate, jpegs=tuple(map(_grey_jpeg, levels)), frame_rate=rate,
        height=40, width=40,
    )  # fmt: skip
    expected = [item.value for item in cutter.cut(schema.encode(record))]
    found = _windows(exported, (frames, rate))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape == (4, 32, 32, 3) and ours.dtype == np.uint8
        np.testing.assert_allclose(ours[:, 16, 16, 0], theirs[:, 16, 16, 0], atol=1)


def test_frames_that_lie_far_apart_are_windows_each(exported):
    frames = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (3, 7)])
    found = _windows(exported, (frames, 1 / 3600))
    assert [window.shape for window in found] == [(4, 32, 32, 3)] * 2
    assert [np.unique(window).tolist() for window in found] == [[3], [7]]


@pytest.mark.parametrize(("height", "width"), [(40, 57), (56, 40), (32, 32), (80, 96)])
def test_arrays_that_need_not_be_resized_are_cut_as_they_are(height, width):
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    given = frames.repeat(2, axis=1).repeat(2, axis=2)  # which is resized to what `frames` are, or nearly so
    with Windows(ClipSettings(2, 10.0, min(height, width), 32, None)) as cutting:
        (found,), (smaller,) = (cutting.of("video", Row("video", one)) for one in (frames, given))
    top, left = (height - 32) // 2, (width - 32) // 2
    assert found.dtype == smaller.dtype == np.uint8
    np.testing.assert_array_equal(found, frames[:, top : top + 32, left : left + 32])
    np.testing.assert_array_equal(smaller, found)


def test_sound_of_another_rate_is_resampled(exported):
    time = np.arange(0, 0.4, 1 / 16000)
    tone = 0.3 * np.sin(2 * np.pi * 440 * time).astype(np.float32)
    whole = (tone * 32767).astype(np.int16)
    found = exported.embed(audio=[(tone, 16000), tone[::2], (whole, 16000.0)])["audio"]["va"]
    np.testing.assert_allclose(found[0], found[1], atol=0.03 * np.abs(found).max())
    np.testing.assert_allclose(found[0], found[2], atol=0.06 * np.abs(found).max())


def test_similarity_is_the_cosine_in_the_space_of_the_two(exported, films):
    found = exported.embed(video=films / "short.mp4", audio=films / "tone.wav", text=["a red ball", "box"])
    unit = {
        (modality, space): rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for modality, spaces in found.items()
        for space, rows in spaces.items()
    }
    np.testing.assert_allclose(
        exported.similarity(found, "text", "audio"), unit["text", "vat"] @ unit["audio", "vat"].T, atol=1e-6
    )
    # The fine space is theirs, though they meet in the coarse one as well.
    np.testing.assert_allclose(
        exported.similarity(found), unit["video", "va"] @ unit["audio", "va"].T, atol=1e-6
    )  # fmt: skip
    coarse = exported.similarity(found, "video", "audio", space="vat")
    np.testing.assert_allclose(coarse, unit["video", "vat"] @ unit["audio", "vat"].T, atol=1e-6)
    assert exported.was_trained("image", "text") and not exported.was_trained("audio", "text")
    with pytest.raises(ValueError, match="video and text have no space va in common: video in va, vat; text in vat"):
        exported.similarity(found, "video", "text", space="va")


def test_deflated_is_the_image_network(exported, trained):
    images = tiny_export.inputs()["image"]
    expected = exported.embed(image=list(images))["image"]["vat"]
    for model in (exported, trained):
        network = model.deflated()
        np.testing.assert_allclose(network(tf.constant(images), False)["vat"], expected, rtol=1e-3, atol=1e-5)
        assert len(network.trainable_variables) > 5


def test_an_unreadable_input_is_an_error_or_a_row_of_nan(exported, films):
    good, broken, mute = (str(films / name) for name in ("tone.wav", "broken.mp4", "mute.mp4"))
    with pytest.raises(ValueError, match=r"^audio: .*broken\.mp4: \w+: .*$"):
        exported.embed(audio=[good, broken])
    with pytest.warns(UserWarning) as told:
        found = exported.embed(audio=[broken, good, mute], on_error="nan")
    assert [str(one.message).split(": ")[1] for one in told] == [broken, mute]
    assert "has no sound" in str(told[1].message)
    vectors = found["audio"]["vat"]
    assert np.isnan(vectors[[0, 2]]).all() and np.isfinite(vectors[1]).all()
    found |= exported.embed(text="box")
    cosines = exported.similarity(found, "text", "audio")
    assert list(np.isnan(cosines[0])) == [True, False, True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to embed: give video=, image=, audio= or text="),
        ({"video": ["there.mp4", "not_there.mp4"]}, "video: there.mp4: no such file"),
        ({"video": 3}, r"video: paths of files or arrays \[T,H,W,3\], not int"),
        ({"video": np.zeros((4, 32), np.uint8)}, r"video: paths .*, not an array of shape \[4, 32\]"),
        ({"image": [np.zeros((8, 8, 3), np.float32) + 200]}, r"image\[0\]: uint8, or float in .* between 200 and 200"),
        ({"image": [np.zeros((8, 8, 3), int)]}, r"image\[0\]: uint8, or float in \[0, 1\], not int64"),
        ({"audio": [np.full(9, np.nan)]}, r"audio\[0\]: holds NaN or Inf"),
        ({"audio": [(np.zeros(9), 0.0)]}, r"audio\[0\]: 0.0 is no number of frames or samples a second"),
        ({"audio": [(np.zeros(9), 0.3)]}, r"audio\[0\]: 0.3 is no number of frames or samples a second"),
        ({"video": [(np.zeros((4, 8, 8, 3)), 1e308)]}, r"video\[0\]: 1e\+308 is no number of frames or samples"),
        ({"video": b"/there.mp4"}, r"video: paths of files or arrays \[T,H,W,3\], not bytes"),
        ({"image": ["there.png", b"there.png"]}, r"image\[1\]: paths of files or arrays \[H,W,3\], not bytes"),
        ({"text": [b"bytes"]}, "text: a string or a list of strings, not bytes"),
        ({"text": b"bytes"}, "text: a string or a list of strings, not bytes"),
        ({"text": ["a red ball", None]}, "text: a string or a list of strings, not NoneType"),
        ({"text": [0]}, "text: a string or a list of strings, not int"),
        ({"text": [b""]}, "text: a string or a list of strings, not bytes"),
        ({"text": 3}, "text: a string or a list of strings, not int"),
        ({"text": "a", "batch_size": 0}, "batch_size = 0"),
    ],
)
def test_what_is_wrong_is_named(exported, given, message):
    with pytest.raises(ValueError, match=message):
        exported.embed(**given)


class _Cutting:
    """As Windows, but begins another call while the first one is inside, and gives it time to get in."""

    def __init__(self, begin):
        self._begin, self._inside, self._second, self.most = begin, 0, threading.Event(), 0

    def __enter__(self):
        self._inside += 1
        self.most = max(self.most, self._inside)
        if self.most > 1:
            self._second.set()
        return self

    def __exit__(self, *error):
        self._inside -= 1

    def of(self, modality, row):
        if begin := self._begin:
            self._begin = None
            begin()
            self._second.wait(0.2)
        yield row.item


def test_threads_take_turns(exported, monkeypatch):
    model, found = Model(exported._networks, exported.path), {}
    monkeypatch.setattr(model, "_run", lambda modality, values, size: {"va": np.array([[v.mean()] for v in values])})

    def embed(level):
        found[level] = model.embed(video=np.full((4, 32, 32, 3), level, np.uint8))["video"]["va"].tolist()

    other = threading.Thread(target=embed, args=(7,))
    model._windows = cutting = _Cutting(other.start)
    embed(3)
    other.join(60)
    assert found == {3: [[3.0]], 7: [[7.0]]} and cutting.most == 1


def test_texts_without_a_known_word_are_named(exported):
    with pytest.warns(UserWarning, match=r"1 of 2 texts hold no word that the network knows.*'zyx'") as told:
        found = exported.embed(text=["zyx", "ball"])["text"]["vat"]
    assert told[0].filename == __file__  # the line of whoever called
    assert not np.allclose(found[0], found[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert exported.embed(text=[])["text"]["vat"].shape == (0, 8)
        exported.embed(text=["ball"])


def test_no_place_of_a_network_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        mmv_tf.load(tmp_path / "nowhere")
    (tmp_path / "runs" / "fac").mkdir(parents=True)
    (tmp_path / "runs" / "fac" / "config.gin").write_text("")
    with pytest.raises(ValueError, match="runs: not a workdir, an export .*runs/fac is one"):
        mmv_tf.load(tmp_path / "runs")
    with pytest.raises(ValueError, match=r"only a released .pkl file needs one"):
        mmv_tf.load(tmp_path / "runs" / "fac", vocabulary="words.txt")


def test_gin_holds_what_it_held():
    config.parse(["gin/va.gin"], ["STEPS = 7"])
    before = gin.config_str()
    with tiny_export.loaded_once():
        mmv_tf.load(tiny_export.export().workdir)
    assert gin.config_str() == before and gin.config_is_locked() and gin.query_parameter("%STEPS") == 7


def test_importing_takes_no_tensorflow():
    code = "import sys, mmv_tf; mmv_tf.load; assert not {'tensorflow', 'numpy', 'gin'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
