"""A clip as a picture: the frames are the frames, pitch goes up, words are those of the ids, gaps are shown."""

import cv2
import numpy as np
import pytest

from mmv_tf.inputs.text import Tokenizer
from mmv_tf.pages import clip_picture, pictures

LINE = 20  # height of one line of text


def _clip(frames=8, size=120, seed=0):
    rs = np.random.RandomState(seed)
    return {
        "video": rs.randint(0, 256, (frames, size, size, 3)).astype(np.float32) / 255,
        "audio": rs.standard_normal((30, 16, 1)).astype(np.float32),
        "text": np.array([[1, 3, 0], [0, 0, 0]], np.int32),
        "video_mask": np.bool_(True),
        "audio_mask": np.bool_(True),
        "text_mask": np.array([True, False]),
        "label": np.int32(-1),
    }


def _has_ink(picture, colour):
    return bool((np.abs(picture.astype(int) - colour).max(axis=-1) < 8).any())


def test_frames_stand_side_by_side_as_they_are_each_from_the_middle_of_its_part():
    clip = _clip()
    picture = clip_picture.draw(clip)
    for place, number in enumerate((1, 3, 5, 7)):
        shown = picture[LINE : LINE + 120, 120 * place : 120 * (place + 1)]
        np.testing.assert_array_equal(shown, np.rint(clip["video"][number] * 255))


@pytest.mark.parametrize(("size", "factor"), [(40, 3), (96, 1), (95, 2)])
def test_small_frames_are_enlarged_by_whole_factors(size, factor):
    frames = np.random.RandomState(1).randint(0, 256, (2, size, size, 3)).astype(np.uint8)
    strip = clip_picture.strip(frames)
    assert strip.shape == (size * factor, 2 * size * factor, 3)
    np.testing.assert_array_equal(strip[::factor, ::factor], np.concatenate(list(frames), axis=1))
    np.testing.assert_array_equal(strip[factor - 1 :: factor], strip[::factor])


def test_pitch_goes_up_and_time_to_the_right():
    mel = np.zeros((10, 16, 1), np.float32)
    mel[7, 2] = 1.0  # late and low
    picture = clip_picture.spectrogram(mel, 200)
    assert picture.shape == (96, 200, 3)
    bright = np.argwhere(picture.astype(int).sum(axis=-1) > 300)
    assert bright.min(axis=0).tolist() == [6 * (15 - 2), 20 * 7]
    assert bright.max(axis=0).tolist() == [6 * (15 - 2) + 5, 20 * 7 + 19]
    colours = cv2.applyColorMap(np.array([[0, 255]], np.uint8), cv2.COLORMAP_MAGMA)[0, :, ::-1]
    np.testing.assert_array_equal(picture[0, 0], colours[0])
    np.testing.assert_array_equal(picture[80, 150], colours[1])


def test_of_what_does_not_fit_the_mean_is_shown():
    levels = np.zeros((100_000, 6))
    levels[::2] = levels[:25_000] = 1.0
    picture = pictures.coloured(levels, 4, 3)
    colours = cv2.applyColorMap(np.array([[255, 128]], np.uint8), cv2.COLORMAP_MAGMA)[0, :, ::-1]
    assert picture.shape == (3, 4, 3)
    np.testing.assert_array_equal(picture, np.broadcast_to(colours[[0, 1, 1, 1]], (3, 4, 3)))


def test_silence_is_dark():
    assert clip_picture.spectrogram(np.full((5, 4, 1), 3.0, np.float32), 50).max() < 8


def test_words_are_those_that_the_tokenizer_made_ids_of():
    tokenizer = Tokenizer(vocabulary=("red", "green", "ball"))
    ids = tokenizer(["the green ball!", "what a surprise", "RED, red ball"]).numpy()
    assert clip_picture.narrations(ids, tokenizer.words) == ["green ball", "", "red red ball"]


def test_each_narration_has_its_line_and_a_long_one_several():
    words = ("ball", "b" * 40)
    one = clip_picture.draw(_clip() | {"text": np.array([[1], [1]])}, words)
    two = clip_picture.draw(_clip() | {"text": np.array([[1], [1]]), "text_mask": np.array([True, True])}, words)
    long = clip_picture.draw(_clip() | {"text": np.array([[2] * 5, [0] * 5])}, words)
    assert len(two) - len(one) == LINE
    assert len(long) - len(one) >= LINE - 4
    assert not (long[-LINE * 3 :, -2:] > 30).any()  # nothing runs off the edge


@pytest.mark.parametrize(("key", "mask"), [("video", False), ("audio", False), ("text", [False, False])])
def test_what_is_missing_is_shown_as_missing(key, mask):
    ink = (255, 150, 90)
    whole = clip_picture.draw(_clip() | {"audio": np.zeros((30, 16, 1), np.float32)}, ("red", "green", "ball"))
    gap = clip_picture.draw(_clip() | {f"{key}_mask": np.array(mask)}, ("red", "green", "ball"))
    assert whole.shape == gap.shape
    rows = {"video": slice(LINE, LINE + 120), "audio": slice(LINE + 120, LINE + 216), "text": slice(LINE + 216, None)}
    assert _has_ink(gap[rows[key]], ink)
    for other in set(rows) - {key, "video"}:  # random pixels have every colour
        assert not _has_ink(gap[rows[other]], ink) or other == "audio"


@pytest.mark.parametrize(("kept", "height"), [("video", LINE + 120), ("audio", LINE + 96), ("text", 2 * LINE)])
def test_modalities_that_the_batch_does_without_are_left_out(kept, height):
    assert clip_picture.draw({kept: _clip()[kept]}, ("red", "green", "ball")).shape[0] == height


def test_source_and_label_are_in_the_first_line():
    plain = clip_picture.draw(_clip())[:LINE]
    assert not np.array_equal(plain, clip_picture.draw(_clip() | {"label": np.int32(3)})[:LINE])
    assert not np.array_equal(plain, clip_picture.draw(_clip(), source="audioset")[:LINE])


def test_accents_are_left_off_and_other_scripts_do_no_harm():
    accented = clip_picture.draw(_clip() | {"text": np.array([[1], [0]])}, ("caf\u00e9",))
    np.testing.assert_array_equal(accented, clip_picture.draw(_clip() | {"text": np.array([[1], [0]])}, ("cafe",)))
    assert clip_picture.draw(_clip(), ("\u732b", "b", "\u72ac")).shape == accented.shape


def test_a_waveform_is_drawn_as_its_span_in_each_column():
    silent_then_loud = np.concatenate([np.zeros(500), np.resize([0.5, -0.5], 500)]).astype(np.float32)
    picture = clip_picture.draw({"audio": silent_then_loud})
    bright = picture[-96:].sum(axis=-1) > 300
    assert bright.shape == (96, 448)
    assert (bright[:, :220].sum(axis=0) <= 3).all() and bright[47:49, :220].any(axis=0).all()
    assert bright[:, 230:].all()
    short = clip_picture.waveform(np.array([0.0, 1.0], np.float32), 448)
    assert short.shape == (96, 448, 3)
