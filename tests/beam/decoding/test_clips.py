"""Timing by value: pictures carry their number as a grey level, the sound has a beep at a known sample."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from helpers.decoded import run, shown
from helpers.videos import numbers, onset, picture, write_video
from mmv_tf.beam.decoding import clips as decode
from mmv_tf.beam.specs import Settings
from mmv_tf.records.card import Reason


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", {}),
        ("a.mkv", {"codec": "mpeg4", "sound_first": True, "sound_rate": 44100, "layout": "stereo"}),
        ("a.webm", {"codec": "libvpx", "sound_codec": "libopus"}),
        ("a.mov", {"sound_codec": "pcm_s16le", "sound_rate": 44100, "layout": "stereo"}),
        ("b.mp4", {"sound_rate": 22050, "layout": "5.1"}),
        ("a.avi", {"codec": "mpeg4", "sound_codec": "pcm_s16le", "sound_rate": 8000}),
        ("c.mkv", {"codec": "mpeg2video", "sound_codec": "flac", "sound_rate": 96000}),
    ],
)
def test_frames_and_sound_are_those_of_their_time(tmp_path, name, kind):
    write_video(tmp_path / name, seconds=4, beep_at=1.5, **kind)
    for clip in run(tmp_path / name, [(0.0, None), (1.0, 3.0), (1.24, 2.24)]):
        assert numbers(clip.jpegs) == shown(clip.start, len(clip.jpegs))
        assert len(clip.waveform) == round(len(clip.jpegs) / 10 * 48000)
        assert abs(onset(clip.waveform) / 48000 + clip.start - 1.5) < 0.001
        # 5.1 and stereo are mixed without loss of level and without clipping.
        assert 0.8 < np.abs(clip.waveform).max() < 1.0
    assert [c.end for c in run(tmp_path / name, [(0.0, None), (1.0, 3.0)])] == [4.0, 3.0]


def test_seeking_gives_what_decoding_from_the_start_gives(tmp_path):
    path = write_video(tmp_path / "long.mp4", seconds=40, beep_at=35.0, gop=50)
    (clip,) = run(path, [(34.3, 36.3)])
    assert numbers(clip.jpegs) == shown(34.3, 20)
    assert abs(onset(clip.waveform) / 48000 - 0.7) < 0.001
    # Far apart: two runs with a seek between them; the order of the answers is that of time.
    first, second = run(path, [(0.5, 1.5), (34.3, 36.3)])
    assert numbers(first.jpegs) == shown(0.5, 10)
    assert second.jpegs == clip.jpegs


def test_variable_frame_rate_and_a_late_first_picture(tmp_path):
    times = [0.25, 0.3, 0.9, 1.0, 1.85]
    path = write_video(tmp_path / "vfr.mkv", seconds=2, times=times, codec="mpeg4")
    (clip,) = run(path, [(0.0, None)])
    expected = [max([n for n, time in enumerate(times) if time <= i / 10 + 1e-6], default=0) for i in range(20)]
    assert numbers(clip.jpegs) == expected


def test_late_and_short_sound_is_padded(tmp_path):
    path = write_video(tmp_path / "late.mkv", seconds=2, sound_from=0.7, sound_until=1.4, sound_codec="pcm_s16le")
    (clip,) = run(path, [(0.0, None)])
    assert len(clip.waveform) == 96000
    loud = np.flatnonzero(np.abs(clip.waveform) > 1e-3)
    assert abs(loud[0] / 48000 - 0.7) < 0.005 and abs(loud[-1] / 48000 - 1.4) < 0.005
    early, late = run(path, [(0.0, 0.5), (1.5, 2.0)])
    assert early.waveform is None and late.waveform is None  # no sound recorded there


def test_sound_that_goes_on_after_the_last_picture_keeps_it(tmp_path):
    path = write_video(tmp_path / "tail.mp4", seconds=3, times=[n / 25 for n in range(25)], codec="mpeg4")
    (clip,) = run(path, [(0.0, None)])
    assert len(clip.jpegs) == 30 and len(clip.waveform) == 144000
    assert numbers(clip.jpegs) == shown(0, 10) + [24] * 20


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_pictures_that_the_decoder_keeps_back_are_waited_for(tmp_path, name):
    fps = Fraction(1, 12)  # with B-pictures the decoder is two or three pictures behind the sound
    path = write_video(tmp_path / name, seconds=96, fps=fps, sound_rate=8000)
    for clip in run(path, [(0.0, None), (30.0, 50.0)], frame_rate=1.0, sample_rate=8000):
        assert numbers(clip.jpegs) == shown(clip.start, len(clip.jpegs), fps, rate=1)


def test_the_last_pictures_before_long_sound_are_waited_for_as_long_as_there_is_room(tmp_path, monkeypatch):
    path = write_video(tmp_path / "tail.mp4", seconds=20, times=[n / 25 for n in range(25)])
    pictures = [n for clip in run(path, [(0.0, None)], clip_seconds=1.0) for n in numbers(clip.jpegs)]
    assert pictures == shown(0, 10) + [24] * 190
    room = 5 * 48000 * 4  # bytes of 5 s of sound: after that it goes on with the picture that there is
    clips = run(path, [(0.0, None)], clip_seconds=1.0, max_clip_bytes=room)
    pictures = [n for clip in clips for n in numbers(clip.jpegs)]
    assert pictures[:10] == shown(0, 10) and 20 < pictures[10] < 24 and pictures[-1] == 24
    # ... or until so much sound has come that there is nothing to wait for.
    monkeypatch.setattr(decode, "LONGEST_WAIT", 12.0)
    late = [n for clip in run(path, [(0.0, None)], clip_seconds=1.0) for n in numbers(clip.jpegs)]
    assert late[:10] == shown(0, 10) and 20 < late[10] < 24 and late[-1] == 24


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "b.mkv"])
def test_the_last_picture_lasts_as_long_as_planned(tmp_path, name):
    codec = {"codec": "mpeg4"} if name == "b.mkv" else {}  # not in another order
    path = write_video(tmp_path / name, seconds=20, fps=Fraction(1, 5), sound_codec=None, **codec)
    for clip in run(path, [(0.0, None), (12.0, 60.0)]):
        assert clip.end == min(clip.wanted_end, 20.0)
        assert numbers(clip.jpegs) == shown(clip.start, round((clip.end - clip.start) * 10), Fraction(1, 5))


def test_without_sound_and_without_pictures(tmp_path):
    (mute,) = run(write_video(tmp_path / "mute.mp4", sound_codec=None), [(0.0, None)])
    assert mute.waveform is None and numbers(mute.jpegs) == shown(0, 20)
    (sound,) = run(write_video(tmp_path / "sound.wav", codec=None, sound_codec="pcm_s16le", beep_at=1.0), [(0.5, 1.5)])
    assert sound.jpegs == [] and sound.size == (0, 0)
    assert len(sound.waveform) == 48000 and abs(onset(sound.waveform) - 24000) < 48


def test_a_clip_that_ends_behind_the_source_is_cut_and_one_behind_it_is_empty(tmp_path):
    path = write_video(tmp_path / "a.mp4", seconds=2)
    settings = Settings()
    results = list(decode.decode(str(path), [(0, 1.0, 11.0), (1, 5.0, 6.0)], settings))
    (clip, error), (_, empty) = results
    assert error is None and clip.end == 2.0 and len(clip.jpegs) == 10 and len(clip.waveform) == 48000
    assert empty.reason is Reason.EMPTY_CLIP


def test_a_gap_in_the_times_makes_no_clips_of_one_held_picture(tmp_path):
    path = str(
        write_video(tmp_path / "gap.mkv", times=[*(n / 25 for n in range(25)), 98.0, 98.1, 98.2], sound_codec=None)
    )
    pieces, _ = decode.plan(path, [(0.0, None)], Settings())
    results = sorted(decode.decode(path, pieces, Settings()), key=lambda result: result[0].start)
    assert len(results) == 10
    assert [error and error.reason for _, error in results] == [None, *[Reason.EMPTY_CLIP] * 8, None]


def test_pieces_of_a_whole_source_cover_it(tmp_path):
    path = write_video(tmp_path / "a.mp4", seconds=7)
    for clip_seconds, lengths in [(2.0, [2, 2, 2, 1]), (3.0, [3, 4]), (10.0, [7]), (1.0, [1] * 7)]:
        pieces, truncated = decode.plan(str(path), [(0.0, None)], Settings(clip_seconds=clip_seconds))
        assert truncated is None
        assert [round(end - start, 6) for _, start, end in pieces] == lengths
        assert pieces[0][1] == 0 and pieces[-1][2] == 7
        assert all(a[2] == b[1] for a, b in zip(pieces, pieces[1:], strict=False))
    # A last piece that would be longer than a clip may be is halved.
    for settings, times in [
        (Settings(clip_seconds=5.0, max_clip_seconds=6.0), [0, 3.5, 7]),
        (Settings(clip_seconds=2.9, max_clip_seconds=3.0), [0, 2.9, 4.9, 7]),
        (Settings(clip_seconds=3.0, max_clip_seconds=3.0, frame_rate=1.25), [0, 2.4, 4.8, 7.2]),
        (Settings(clip_seconds=99.0, max_clip_seconds=2.0), [0, 2, 4, 6, 7]),
    ]:
        pieces, _ = decode.plan(str(path), [(0.0, None)], settings)
        assert [start for _, start, _ in pieces] + [pieces[-1][2]] == pytest.approx(times)
        assert not any(error for _, error in decode.decode(str(path), pieces, settings))
    whole = run(path, [(0.0, None)], clip_seconds=2.0)
    assert [n for clip in whole for n in numbers(clip.jpegs)] == shown(0, 70)


def test_short_side_is_kept_or_made_smaller_never_larger(tmp_path):
    path = write_video(tmp_path / "a.mp4", seconds=0.4, size=(322, 180), codec="mpeg4")
    (small,) = run(path, [(0.0, None)], short_side=90)
    assert small.size == (90, 161) and picture(small.jpegs[0]).shape == (90, 161, 3)
    (same,) = run(path, [(0.0, None)], short_side=256)
    assert same.size == (180, 322)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_of_phones(tmp_path, rotation):
    def draw(_):
        image = np.zeros((48, 64, 3), np.uint8)
        image[:24, :32] = 255  # white upper left quarter
        return image

    path = write_video(tmp_path / "r.mp4", seconds=0.4, draw=draw, rotation=rotation)
    (clip,) = run(path, [(0.0, None)])
    image = picture(clip.jpegs[0]).astype(float)
    # The display matrix turns counter-clockwise by `rotation`.
    expected = np.rot90(draw(0), rotation // 90).astype(float)
    assert image.shape == expected.shape
    assert np.abs(image - expected).mean() < 12


def test_colours(tmp_path):
    colour = np.array([200, 60, 30], np.uint8)
    path = write_video(tmp_path / "c.mp4", seconds=0.4, draw=lambda _: np.tile(colour, (48, 64, 1)))
    (clip,) = run(path, [(0.0, None)])
    assert np.abs(picture(clip.jpegs[0]).mean((0, 1)) - colour).max() < 6


def test_jpegs_are_jpegs(tmp_path):
    (clip,) = run(write_video(tmp_path / "a.mp4", seconds=1), [(0.0, None)])
    assert all(jpeg[:2] == b"\xff\xd8" and jpeg[-2:] == b"\xff\xd9" for jpeg in clip.jpegs)
    assert cv2.imdecode(np.frombuffer(clip.jpegs[0], np.uint8), cv2.IMREAD_UNCHANGED).shape == (48, 64, 3)
