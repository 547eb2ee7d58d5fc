"""The programs that are timed beside each other: each decodes all of a video."""

import sys

import cv2
import pytest

from benchmarks import preprocessing
from helpers.videos import numbers, write_video


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a program on a video of a second, in this process; what its names mean in the end."""
    video = write_video(tmp_path / "a.mp4", seconds=1)
    threads = cv2.getNumThreads()

    def run(program):
        monkeypatch.setattr(sys, "argv", ["-c", str(video)])
        found = {}
        exec(program, found)
        return found

    yield run
    cv2.setNumThreads(threads)


def test_decoding_makes_the_pictures_and_the_sound_of_a_record(run):
    clip = run(preprocessing._DECODING)["clip"]
    assert numbers(clip.jpegs) == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]
    assert clip.waveform.shape == (48000,)


def test_bare_decoding_goes_to_the_end(run):
    last = run(preprocessing._PYAV)["packet"]
    assert last.size == 0 and last.dts is None  # after the last one: what the decoder still holds
