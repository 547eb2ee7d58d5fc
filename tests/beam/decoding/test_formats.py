"""What sources are like out there: fields, flips, odd sizes, joined recordings, tracks. Timing by value throughout."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from helpers.decoded import run, shown
from helpers.videos import LEVELS, numbers, onset, picture, write_video
from mmv_tf.beam.decoding import clips as decode
from mmv_tf.beam.specs import Settings
from mmv_tf.records.card import Reason


def _quarter(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 255  # white upper left quarter
    return image


def _set_matrix(path, matrix):
    """Writes a, b, c, d of the display matrix into the header of a track."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0), lambda image: np.rot90(image)),
    ],
)
def test_flips_and_turns_by_the_matrix(tmp_path, matrix, expected):
    path = write_video(tmp_path / "m.mp4", seconds=0.4, sound_codec=None, draw=lambda _: _quarter(48, 64))
    _set_matrix(path, matrix)
    (clip,) = run(path, [(0.0, None)])
    expected = expected(_quarter(48, 64)).astype(float)
    image = picture(clip.jpegs[0]).astype(float)
    assert clip.size == expected.shape[:2] == image.shape[:2]
    assert np.abs(image - expected).mean() < 12


@pytest.mark.parametrize(("first", "level"), [("tff", 200), ("bff", 40)])
def test_of_interlaced_pictures_the_first_field_is_taken(tmp_path, first, level):
    def draw(_):
        image = np.full((96, 128, 3), 40, np.uint8)
        image[::2] = 200  # the lines of the top field
        return image

    path = tmp_path / "i.mkv"
    write_video(path, size=(128, 96), sound_codec=None, draw=draw, codec_options={"x264-params": f"{first}=1:qp=4"})
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    (clip,) = run(path, [(0.0, None)])
    assert clip.size == (96, 128) and len(clip.jpegs) == 20
    image = picture(clip.jpegs[7]).astype(float)
    assert abs(image.mean() - level) < 4 and image.std() < 4  # no combs


def test_interlaced_timing_is_exact(tmp_path):
    path = write_video(
        tmp_path / "i.mp4", seconds=3, size=(64, 64), beep_at=1.5, codec_options={"x264-params": "tff=1"}
    )
    (clip,) = run(path, [(1.24, 2.24)])
    assert numbers(clip.jpegs) == shown(1.24, 10)
    assert abs(onset(clip.waveform) / 48000 - 0.26) < 0.001


@pytest.mark.parametrize("size", [(35, 53), (1, 1), (2, 2), (17, 300), (301, 3)])
@pytest.mark.parametrize("codec", ["png", "ffv1"])
def test_odd_sizes(tmp_path, size, codec):
    pix_fmt = {"png": "rgb24", "ffv1": "yuv444p"}[codec]
    name = {"png": "a.mov", "ffv1": "a.mkv"}[codec]
    path = write_video(tmp_path / name, seconds=1, size=size, codec=codec, pix_fmt=pix_fmt, sound_codec=None)
    (clip,) = run(path, [(0.0, None)])
    assert clip.size == size[::-1] and numbers(clip.jpegs) == shown(0, 10)
    (small,) = run(path, [(0.0, None)], short_side=16)
    assert min(small.size) == min(16, *size) and picture(small.jpegs[0]).shape[:2] == small.size


@pytest.mark.parametrize("rotation", [0, 90])
def test_anamorphic_pictures_get_square_pixels(tmp_path, rotation):
    path = write_video(tmp_path / "a.mp4", seconds=0.4, size=(72, 64), aspect=(4, 3), rotation=rotation)
    (clip,) = run(path, [(0.0, None)])
    assert clip.size == ((64, 96) if rotation == 0 else (96, 64))


@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "quad", "5.1", "7.1"])
@pytest.mark.parametrize("rate", [8000, 11025, 32000, 44100, 96000])
def test_layouts_and_rates_of_sound(tmp_path, layout, rate):
    path = tmp_path / "a.mkv"
    write_video(path, codec=None, sound_codec="pcm_s24le", sound_rate=rate, layout=layout, beep_at=0.5)
    (clip,) = run(path, [(0.1, 1.1)])
    assert len(clip.waveform) == 48000
    assert abs(onset(clip.waveform) / 48000 - 0.4) < 0.0015  # 1 kHz needs a third of a millisecond to be loud
    assert 0.75 < np.abs(clip.waveform).max() <= 1.0


def test_pictures_that_begin_late_and_sound_that_ends_late(tmp_path):
    path = write_video(tmp_path / "late.mkv", seconds=3, times=[1 + n / 25 for n in range(25)], beep_at=2.5)
    (clip,) = run(path, [(0.0, None)])
    # The first picture stands before its time, the last one after it; the span is that of the longer stream.
    assert numbers(clip.jpegs) == [0] * 10 + shown(0, 10) + [24] * 10
    assert abs(onset(clip.waveform) / 48000 - 2.5) < 0.001


def test_a_clip_longer_than_the_source_is_cut(tmp_path):
    (clip,) = run(write_video(tmp_path / "a.mp4", seconds=1), [(0.0, 10.0)])
    assert (clip.end, len(clip.jpegs), len(clip.waveform)) == (1.0, 10, 48000)


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        track = container.add_stream("libmp3lame", rate=44100, layout="stereo")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame(64, 64, "rgb24")
        frame.pts = 0
        container.mux(cover.encode(frame))
        sound = av.AudioFrame.from_ndarray(np.full((2, 44100), 0.1, np.float32), "fltp", "stereo")
        sound.sample_rate, sound.pts = 44100, 0
        container.mux(track.encode(sound))
        container.mux(track.encode())
    (clip,) = run(path, [(0.0, None)])
    assert clip.jpegs == [] and len(clip.waveform) > 40000


def test_of_several_tracks_the_first_is_taken(tmp_path):
    one, two = (write_video(tmp_path / f"{at}.mkv", seconds=2, beep_at=at, sound_codec="flac") for at in (0.5, 1.5))
    path = tmp_path / "both.mkv"
    sources = [(av.open(str(file)), kind) for file, kind in [(one, "video"), (two, "audio"), (one, "audio")]]
    with av.open(str(path), "w") as out:
        copies = [out.add_stream_from_template(source.streams.get(**{kind: 0})[0]) for source, kind in sources]
        for (source, kind), copy in zip(sources, copies, strict=True):
            for packet in source.demux(source.streams.get(**{kind: 0})):
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)
            source.close()
    (clip,) = run(path, [(0.0, None)])
    assert numbers(clip.jpegs) == shown(0, 20)
    assert abs(onset(clip.waveform) / 48000 - 1.5) < 0.001


@pytest.mark.parametrize("options", [{"bf": "4", "b_strategy": "0"}, {"bf": "0"}])
def test_reordered_pictures_and_negative_times(tmp_path, options):
    """B pictures: decoding times begin before 0, and an edit list of the container says so."""
    path = write_video(tmp_path / "b.mp4", seconds=3, beep_at=1.5, codec_options=options)
    for clip in run(path, [(0.0, None), (1.24, 2.24), (2.5, 3.0)]):
        assert numbers(clip.jpegs) == shown(clip.start, len(clip.jpegs))
        if clip.start < 1.5 < clip.end:
            assert abs(onset(clip.waveform) / 48000 + clip.start - 1.5) < 0.001


def test_times_before_zero_begin_the_source(tmp_path):
    path = tmp_path / "n.mkv"
    write_video(
        path, times=[-0.52 + n / 25 for n in range(50)], sound_from=-0.52, sound_until=1.48, codec="mpeg4", beep_at=0.0
    )
    (clip,) = run(path, [(0.0, None)])
    assert numbers(clip.jpegs) == shown(0, 20)
    assert abs(onset(clip.waveform) / 48000 - 0.52) < 0.003


def test_a_size_that_changes_on_the_way(tmp_path):
    """Each clip has the size of its first picture; later ones are scaled to it."""
    parts = [
        write_video(tmp_path / f"{n}.ts", seconds=2, size=size, sound_codec=None)
        for n, size in enumerate([(64, 48), (96, 80)])
    ]
    path = tmp_path / "sizes.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    first, across, second = run(path, [(0.0, 1.0), (1.0, 3.0), (2.5, 3.5)])
    assert (first.size, across.size, second.size) == ((48, 64), (48, 64), (80, 96))
    assert all(picture(jpeg).shape[:2] == (48, 64) for jpeg in across.jpegs)


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_joined_broadcasts_run_on(tmp_path, name):
    """The clock starts anew with each part; what is shown and heard goes on."""
    codecs = {"codec": "mpeg2video", "sound_codec": "mp2"}
    parts = [write_video(tmp_path / f"{n}{name}", seconds=4, beep_at=at, **codecs) for n, at in enumerate((1.5, 2.5))]
    path = tmp_path / name
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    (clip,) = run(path, [(0.0, None)], clip_seconds=60.0)
    assert abs(len(clip.jpegs) - 80) <= 2
    with av.open(str(parts[0])) as container:  # the sound begins a moment before the first picture
        start = float(max(s.start_time * s.time_base for s in container.streams)) - container.start_time / av.time_base
    assert 0 < start < 0.1
    got = numbers(clip.jpegs)
    # One more or less: program streams give some pictures no time of their own.
    assert max(abs(a - b) % 26 for a, b in zip(got[1:38], shown(0.1 - start, 37), strict=True)) <= (name == "a.mpg")
    steps = [(b - a) % LEVELS for a, b in zip(got[1:77], got[2:78], strict=True)]
    (join,) = (n for n, step in enumerate(steps) if step not in (1, 2, 3, 4))  # 25 pictures a second, 10 frames
    assert 36 <= join <= 40
    beeps = np.flatnonzero(np.abs(clip.waveform) > 0.2) / 48000
    assert abs(beeps[0] - 1.5 - 481 / 48000) < 0.002 and abs(beeps[-1] - beeps[0] - 5.0) < 0.1
    (late,) = run(path, [(5.0, 7.0)])
    assert late.jpegs == clip.jpegs[50:70]


def test_a_wrong_index_leads_nowhere_else(tmp_path):
    path = write_video(tmp_path / "a.avi", seconds=40, codec="mpeg4", sound_codec="pcm_s16le", beep_at=35.0, gop=25)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"idx1") + 8
    entries = [bytes(data[n : n + 16]) for n in range(at, len(data) - 15, 16)]
    shifted = entries[len(entries) // 3 :] + entries[: len(entries) // 3]  # every offset belongs to another packet
    for n, (own, other) in enumerate(zip(entries, shifted, strict=True)):
        data[at + 16 * n : at + 16 * n + 16] = own[:8] + other[8:12] + own[12:]
    path.write_bytes(data)
    results = list(decode.decode(str(path), [(0, 34.3, 36.3)], Settings()))
    ((clip, error),) = results
    assert error is None or error.reason in (Reason.DECODE_ERROR, Reason.EMPTY_CLIP)
    if error is None:
        assert numbers(clip.jpegs) == shown(34.3, 20)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mpeg2video"])
def test_pictures_that_nothing_shows_are_left_out_and_nothing_else_changes(tmp_path, codec, monkeypatch):
    options = {"libx264": {"bf": "3"}, "libx265": {"x265-params": "log-level=none"}}.get(codec, {"bf": "2"})
    random = np.random.default_rng(0)
    scene = random.integers(0, 255, (96, 400, 3), np.uint8)
    path = tmp_path / "a.mkv"
    write_video(
        path,
        seconds=3,
        fps=30,
        size=(128, 96),
        codec=codec,
        draw=lambda n: scene[:, n : n + 128],
        codec_options=options,
    )
    clips = [(0.0, None), (0.37, 1.4), (1.667, 1.7), (2.5, 2.87)]
    few = run(path, clips)
    seen = []
    real = decode.AvSource.decode
    monkeypatch.setattr(
        decode.AvSource, "decode", lambda self, packet, skip: seen.append(skip) or real(self, packet, False)
    )
    every = run(path, clips)
    assert [clip.jpegs for clip in few] == [clip.jpegs for clip in every]
    assert sum(seen) > 25


def test_a_source_is_opened_once_for_many_clips(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", seconds=60, fps=5, gop=5, size=(32, 32))
    opened = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs))
    clips = [(float(start), start + 1.0) for start in (0, 2, 3, 15, 16, 29, 30, 44, 58)]
    assert len(run(path, clips)) == 9 and len(opened) == 1


def test_sound_that_cannot_be_decoded_costs_the_sound_alone(tmp_path):
    path = write_video(tmp_path / "a.mkv", seconds=2, sound_codec="flac")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    data = path.read_bytes()
    for packet in packets:
        assert data.count(packet) == 1
        data = data.replace(packet, bytes(len(packet)))
    path.write_bytes(data)
    (clip,) = run(path, [(0.0, None)])
    assert clip.sound_failed and clip.waveform is None and numbers(clip.jpegs) == shown(0, 20)
    (good,) = run(write_video(tmp_path / "b.mkv", seconds=2, sound_codec="flac"), [(0.0, None)])
    assert not good.sound_failed and good.waveform is not None


def _tracks(path, *tracks):
    """A file of streams: ("video", codec, size, level, pictures, disposition), ("audio", level, disposition)."""
    with av.open(str(path), "w") as out:
        streams = []
        for kind, *rest in tracks:
            if kind == "video":
                stream = out.add_stream(rest[0], rate=10)
                stream.width = stream.height = rest[1]
                stream.pix_fmt = "yuvj420p" if rest[0] == "mjpeg" else "yuv420p"
            else:
                stream = out.add_stream("pcm_s16le", rate=16000, layout="mono")
            stream.disposition = rest[-1]
            streams.append(stream)
        for (kind, *rest), stream in zip(tracks, streams, strict=True):
            if kind == "video":
                for n in range(rest[3]):
                    frame = av.VideoFrame.from_ndarray(
                        np.full((rest[1] * 3 // 2, rest[1]), rest[2], np.uint8), "yuv420p"
                    )
                    frame.pts, frame.time_base = n, Fraction(1, 10)
                    out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            else:
                samples = (rest[0] * np.sin(np.arange(48000) / 5)).astype(np.int16)[None]
                frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
                frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
    return path


_NONE, _DEFAULT = av.stream.Disposition(0), av.stream.Disposition.default
_COMMENT = av.stream.Disposition.comment


@pytest.mark.parametrize(
    ("tracks", "size", "loud"),
    [
        ([("video", "mjpeg", 32, 200, 1, _NONE), ("video", "libx264", 64, 90, 30, _DEFAULT)], 64, None),
        ([("video", "mjpeg", 96, 200, 1, _DEFAULT), ("video", "libx264", 64, 90, 30, _DEFAULT)], 64, None),
        ([("video", "libx264", 32, 90, 30, _NONE), ("video", "libx264", 64, 90, 30, _NONE)], 64, None),
        ([("video", "libx264", 32, 90, 30, _DEFAULT), ("video", "libx264", 64, 90, 30, _NONE)], 32, None),
        ([("video", "libx264", 64, 90, 30, _DEFAULT), ("audio", 0, _COMMENT), ("audio", 9000, _DEFAULT)], 64, True),
        ([("video", "libx264", 64, 90, 30, _DEFAULT), ("audio", 9000, _NONE), ("audio", 0, _DEFAULT)], 64, False),
        ([("video", "libx264", 64, 90, 30, _DEFAULT), ("audio", 0, _COMMENT), ("audio", 9000, _NONE)], 64, True),
    ],
)
def test_the_streams_that_a_player_shows_are_taken_and_the_choice_is_told(tmp_path, tracks, size, loud):
    path, remarks = _tracks(tmp_path / "a.mkv", *tracks), []
    pieces, truncated = decode.plan(str(path), [(0.0, None)], Settings())
    ((clip, error),) = decode.decode(str(path), pieces, Settings(), remarks)
    assert error is None and truncated is None and clip.size == (size, size) and len(clip.jpegs) == 30
    assert loud is None or (np.abs(clip.waveform).max() > 0.1) == loud
    ((kind, detail, number),) = remarks
    assert kind.value == "stream_chosen" and number == 1 and "is taken" in detail


def test_tracks_of_subtitles_are_told(tmp_path):
    path, remarks = tmp_path / "a.mkv", []
    write_video(tmp_path / "b.mkv", seconds=1)
    with av.open(str(tmp_path / "b.mkv")) as source, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0])
        words = out.add_stream("ass")
        words.codec_context.time_base = Fraction(1, 1000)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    list(decode.decode(str(path), [(0, 0.0, 1.0)], Settings(), remarks))
    assert [(kind.value, number) for kind, _, number in remarks] == [("subtitles_ignored", 1)]


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("pictures", ["few in the end", "few at first", "a short end", "held", "even"])
def test_the_end_of_a_variable_frame_rate_with_b_pictures(tmp_path, container, pictures):
    steps = {
        "few in the end": [0.04] * 100 + [3.0] * 12,
        "few at first": [3.0] * 12 + [0.04] * 100,
        "a short end": [3.0] * 12 + [0.04] * 3,
        "held": [0.04] * 50 + [20.0] + [0.04] * 50,
        "even": [0.04] * 200,
    }[pictures]
    times = [round(sum(steps[:n]), 3) for n in range(len(steps))]
    path = write_video(
        tmp_path / f"a.{container}", times=times, sound_codec=None, codec_options={"bf": "3", "b_strategy": "0"}
    )
    pieces, truncated = decode.plan(str(path), [(0.0, None)], Settings(clip_seconds=1000.0))
    assert truncated is None
    # The last picture is held for as long as the file says: no longer than the longest of all.
    assert times[-1] <= pieces[-1][2] <= times[-1] + max(steps[-3:]) + 0.11


@pytest.mark.parametrize("container", ["mkv", "webm", "mp4", "mov"])
def test_a_source_that_does_not_begin_at_0_is_whole(tmp_path, container):
    codecs = {"codec": "libvpx", "sound_codec": "libopus"} if container == "webm" else {}
    path = write_video(
        tmp_path / f"a.{container}", seconds=6, times=[100 + n / 5 for n in range(30)], sound_from=100.0,
        sound_until=106.0, options={"avoid_negative_ts": "disabled"}, **codecs,
    )  # fmt: skip
    pieces, truncated = decode.plan(str(path), [(0.0, None)], Settings())
    assert truncated is None and pieces[0][1] == 0.0 and abs(pieces[-1][2] - 6.0) < 0.15
