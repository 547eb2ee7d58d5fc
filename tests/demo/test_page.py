"""The page and what is on it: figures, marks, escaped texts, sounds, curves."""

import html.parser
import io
import re
import wave

import numpy as np
import pytest

from demo.page import NEAR, RIGHT, WRONG, Example, Item, Page, Section, render
from mmv_tf.pages import charts, pictures

NUMBERS = {"R@1": 0.25, "R@5": 0.5, "R@10": 1.0, "MedR": 3.5}
CHANCE = {"R@1": 0.01, "R@5": 0.05, "R@10": 0.1, "MedR": 50.5}
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


class _Checker(html.parser.HTMLParser):
    """Every tag that opens closes, and every address is inside the page."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "path", "polyline", "!doctype"):
            self.open.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_startendtag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(**changes):
    picture = pictures.strip(np.full((4, 20, 16, 3), 90, np.uint8))
    clip = Item("video", "<b>a</b>/04, 0.0 s", picture=picture, sound=pictures.wav(np.zeros(480), 4800), key="7")
    sentence = Item("text", text='"fish" & <chips>')
    found = [(clip, RIGHT), (clip, NEAR), (clip, WRONG)]
    settings = {
        "title": "A & B",
        "lead": "lead",
        "metrics": {"text->video": {"trained": NUMBERS, "untrained": CHANCE, "chance": CHANCE}},
        "sections": [Section("text->video", "why", [Example(sentence, found, 1.0)])],
        "curves": {"loss": {"total": [(0, 4.0), (10, 1.0)]}},
        "graph_svg": SVG,
        "never_trained": ("text->video",),
        "facts": [("games", "2")],
    }
    return Page(**(settings | changes))


def test_page_is_one_whole_file():
    text = render(page())
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.addresses and all(re.match(r"data:|#", address) for address in checker.addresses)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)


def test_texts_are_escaped_and_no_script_of_a_drawing_runs():
    text = render(page())
    assert "<b>a</b>" not in text and "&lt;b&gt;a&lt;/b&gt;/04" in text
    assert "&#34;fish&#34; &amp; &lt;chips&gt;" in text
    assert "alert(1)" not in text


def test_figures_and_marks():
    text = render(page())
    shown = re.sub(r"<[^>]*>", " ", text)
    assert "25.0 %" in shown and "50.0 %" in shown and "3.5" in shown and "50.5" in shown
    assert text.count("never trained together") == 2  # in the table and above the examples
    assert [text.count(f'<figure class="{mark}">') for mark in (RIGHT, NEAR, WRONG)] == [1, 1, 1]
    assert "same game: " in shown and "right one at place 1" in shown


def test_a_sound_is_stored_once_however_often_it_is_heard():
    text = render(page())
    assert text.count("<audio ") == 1 and text.count('data-sound="s0"') == 3


def test_page_without_text_graph_and_curves():
    text = render(page(sections=[], curves={}, graph_svg="", never_trained=(), facts=[]))
    assert "polyline" not in text and "svg+xml" not in text and "<audio " not in text


def test_strip_and_spectrogram():
    import cv2

    frames = np.zeros((5, 40, 30, 3), np.uint8)
    frames[4, ..., 0] = 200  # the last frame is red
    strip = cv2.imdecode(np.frombuffer(pictures.strip(frames, 3, 40), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert strip.shape == (40, 90, 3)
    assert strip[20, 75, 0] > 180 and strip[20, 15, 0] < 20
    rate = 48_000
    tone = np.sin(2 * np.pi * 2000 * np.arange(rate) / rate)
    picture = cv2.imdecode(np.frombuffer(pictures.spectrogram(tone, rate), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture.shape == (90, 240)
    assert abs(int(picture.mean(axis=1).argmax()) - 90 * 0.75) <= 2  # 2 of 8 kHz, counted from the top
    silent = cv2.imdecode(np.frombuffer(pictures.spectrogram(np.zeros(100), rate), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert silent.max() < 10


def test_wav_keeps_length_and_pitch():
    samples = 0.5 * np.sin(2 * np.pi * 441 * np.arange(48_000) / 48_000)
    with wave.open(io.BytesIO(pictures.wav(samples, 48_000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 1, pictures.WAV_RATE)
        levels = np.frombuffer(file.readframes(file.getnframes()), np.uint8).astype(float) - 128
    assert len(levels) == pictures.WAV_RATE
    assert np.abs(np.fft.rfft(levels)).argmax() == 441
    assert abs(np.abs(levels).max() - 63.5) < 2


def test_curves():
    text = charts.lines({"a<b": [(0, 10.0), (100, 0.0)], "c": [(0, 5.0), (100, 5.0)]})
    assert "a&lt;b" in text
    falling, level = re.findall(r'points="([^"]*)"', text)
    heights = [[float(point.split(",")[1]) for point in line.split()] for line in (falling, level)]
    assert heights[0][0] < heights[1][0] < heights[0][1] and heights[1][0] == heights[1][1]
    with pytest.raises(ValueError, match="NaN"):
        charts.lines({"a": [(0, float("nan"))]})
