"""Hostile files, and a child that hangs or dies: each ends in a reason, and the next source is decoded all the same."""

import contextlib
import dataclasses
import os
import signal
import types

import av
import cv2
import numpy as np
import pytest

from helpers import hostile_videos as hostile
from helpers.videos import write_video
from mmv_tf.beam.decoding import image_worker, worker
from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.specs import Settings
from mmv_tf.records.card import Reason


@pytest.fixture(scope="module")
def client():
    """For all tests: whatever one of them has asked, the next one finds it at work."""
    with contextlib.closing(DecodeClient(Settings())) as client:
        yield client


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("good") / "good.mp4", seconds=1)


def _reason(client, path, clips=((0.0, None),)):
    with pytest.raises(Failure) as caught:
        list(client.ask(str(path), list(clips)))
    return caught.value.reason


def _works(client, good):
    answers = list(client.ask(str(good), [(0.0, None)]))
    assert answers[0][0]["plan"] == [[[0], 0.0, 1.0]]
    assert answers[1][0]["frames"] == 10 and len(answers[1][1]) == 11


def test_what_is_no_video(client, good, tmp_path):
    texts = {
        "text.mp4": b"This is not a video.\n" * 100,
        "empty.mp4": b"",
        "noise.mp4": bytes(range(256)) * 64,
        # Playlists: what they name exists and is a video, and must not be read.
        "concat.mp4": f"ffconcat version 1.0\nfile {good}\n".encode(),
        "beside.mp4": b"ffconcat version 1.0\nfile copy.mp4\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{good}\n#EXT-X-ENDLIST\n".encode(),
        "sdp.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "dash.mp4": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>',
        "cut.mp4": good.read_bytes()[:-200],  # the index is at the end
        "image.mp4": b"\x89PNG\r\n\x1a\n" + bytes(100),
    }
    (tmp_path / "copy.mp4").write_bytes(good.read_bytes())
    for name, data in texts.items():
        (tmp_path / name).write_bytes(data)
        assert _reason(client, tmp_path / name) is Reason.NOT_A_VIDEO, name
    _works(client, good)


def test_a_name_is_not_an_option_or_an_address(client, good, tmp_path):
    for name in ("-i.mp4", "http:x.mp4", "pipe:0", "concat:good.mp4|good.mp4", "%03d.mp4", "a b\nc.mp4"):
        os.link(good, tmp_path / name)
        _works(client, tmp_path / name)


def test_a_file_that_breaks_off_is_kept_so_far_and_the_rest_named(client, tmp_path):
    whole = write_video(tmp_path / "whole.mp4", seconds=20, fps=10, options={"movflags": "faststart"})
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (plan, _), *answers = client.ask(str(tmp_path / "cut.mp4"), [(0.0, None)])
    begin, end = plan["truncated"]
    assert 5 < begin < 15 and end == pytest.approx(20, abs=0.1)
    assert sum(header["frames"] for header, _ in answers) == pytest.approx(begin * 10, abs=2)


def test_bit_flips_end_in_an_answer(client, good, tmp_path):
    data = bytearray(good.read_bytes())
    for position in range(40, len(data), 61):
        data[position] ^= 0x55
    (tmp_path / "flipped.mp4").write_bytes(data)
    try:
        list(client.ask(str(tmp_path / "flipped.mp4"), [(0.0, None)]))
    except Failure as failure:
        assert failure.reason in (Reason.NOT_A_VIDEO, Reason.DECODE_ERROR, Reason.TOO_LARGE)
    _works(client, good)


def test_gap_of_25_hours(client, tmp_path):
    path = write_video(tmp_path / "gap.mkv", times=[0.0, 90000.0], sound_codec=None, codec="mpeg4")
    assert _reason(client, path) is Reason.TOO_LARGE
    (_, (header, jpegs)) = client.ask(str(path), [(0.0, 10.0)])
    assert header["frames"] == 100 and len(set(jpegs)) == 1


def test_too_many_pixels_and_too_long_clips(good, tmp_path):
    client = DecodeClient(Settings(max_pixels=1000))
    assert _reason(client, good) is Reason.TOO_LARGE
    client.close()
    client = DecodeClient(Settings(max_clip_seconds=0.5))
    (_, (header, _)) = client.ask(str(good), [(0.0, 1.0)])
    assert header["reason"] == "too_large"
    client.close()


def test_a_small_file_with_a_huge_picture(tmp_path):
    with av.open(str(tmp_path / "big.mov"), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16000, 16000, "monob"
        frame = av.VideoFrame(16000, 16000, "monob")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert (tmp_path / "big.mov").stat().st_size < 300_000
    with contextlib.closing(DecodeClient(Settings())) as client:
        (_, (header, _)) = client.ask(str(tmp_path / "big.mov"), [(0.0, None)])
        assert header["reason"] == "too_large"
        with open(f"/proc/{client._child.pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 200_000  # KiB; the picture alone would be 256 MB as grey


def test_too_little_memory(good, tmp_path):
    client = DecodeClient(Settings(max_memory_bytes=300 << 20))
    path = write_video(tmp_path / "wide.mp4", times=[0.0], size=(3840, 2160), sound_codec=None, codec="mpeg4")
    assert _reason(client, path) in (Reason.OUT_OF_MEMORY, Reason.DECODE_ERROR, Reason.CRASH)
    client.close()


def test_only_regular_files_are_opened(client, tmp_path):
    os.mkfifo(tmp_path / "fifo.mp4")  # opening it would block for ever
    for path in (tmp_path / "fifo.mp4", "/dev/zero"):
        assert _reason(client, path) is Reason.MISSING_FILE


def test_a_child_that_hangs_is_killed(client, good, monkeypatch):
    _works(client, good)
    hanging = client._child
    os.kill(hanging.pid, signal.SIGSTOP)
    with monkeypatch.context() as short:  # for no child that works
        short.setattr(client, "_settings", Settings(timeout_seconds=0.2))
        assert _reason(client, good) is Reason.TIMEOUT
    assert hanging.returncode == -signal.SIGKILL
    _works(client, good)


def test_the_alarm_of_the_child_is_set_anew_with_every_answer_and_off_while_it_is_written(good, tmp_path, monkeypatch):
    """Else a long plan and a long first piece add up to more than the alarm allows, and a parent that is at work with
    an answer (a recogniser of speech, minutes a piece) is one that is gone: crashes, where nothing is too slow."""
    happened = []
    monkeypatch.setattr(worker.signal, "alarm", lambda seconds: happened.append("alarm" if seconds else "off"))
    monkeypatch.setattr(worker, "write_message", lambda out, header, blobs=(): happened.append(min(header)))
    request = {"path": str(good), "clips": [[0.0, 0.5], [0.5, 1.0]]}
    worker._answer_by(worker._answer, request, Settings(), None)
    written = ["off", "plan", "alarm", "off", "end", "alarm", "off", "end", "alarm", "off", "done", "alarm"]
    assert happened == ["alarm", *written, "off"]
    happened.clear()
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    request = {"path": str(tmp_path / "a.png"), "clips": [[0.0, None]]}
    worker._answer_by(image_worker._answer, request, Settings(), None)
    assert happened == ["alarm", "off", "plan", "alarm", "off", "end", "alarm", "off", "done", "alarm", "off"]


def test_a_child_that_dies_is_replaced(client, good):
    _works(client, good)
    answers = client.ask(str(good), [(0.0, 0.5), (0.5, 1.0)])
    next(answers)  # the plan; the first clip is more than a pipe holds, so the child still lives
    os.kill(client._child.pid, signal.SIGKILL)
    with pytest.raises(Failure) as caught:
        while True:
            next(answers)
    assert caught.value.reason is Reason.CRASH and "SIGKILL" in str(caught.value)
    _works(client, good)


def test_an_answer_that_nobody_wants_does_not_come_back(client, good):
    answers = client.ask(str(good), [(0.0, 0.5), (0.5, 1.0)])
    next(answers)
    answers.close()
    _works(client, good)


def test_no_child_is_left(good):
    client = DecodeClient(Settings())
    _works(client, good)
    pid = client._child.pid
    client.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_mutations_and_bombs_end_in_a_reason(client, good, tmp_path):
    """A small part of benchmarks/faults/hostile_videos.py."""
    random = np.random.default_rng(5)
    expected = hostile.write_bombs(tmp_path, good)
    names = ["h264.mp4", "flac.mkv", "vp8.webm", "xvid.avi", "broadcast.ts", "song.mp3"]
    for n, valid in enumerate(hostile.write_valid(tmp_path, names) * 6):
        kind, data = hostile.mutate(valid.read_bytes(), random)
        (tmp_path / f"{n}-{kind}{valid.suffix}").write_bytes(data)
        expected[f"{n}-{kind}{valid.suffix}"] = ()
    for name, right in expected.items():
        ends = []
        try:
            for header, _ in client.ask(str(tmp_path / name), [(0.0, None)]):
                if "plan" in header:
                    ends += [None] * len(header["plan"])
                else:
                    ends[header["piece"]] = header.get("reason", "accepted")
        except Failure as failure:
            ends = [failure.reason.value if end is None else end for end in ends or [None]]
        assert None not in ends, name
        assert not {"crash", "timeout", "out_of_memory"} & set(ends), (name, ends)
        assert not right or set(ends) <= set(right), (name, ends)
    _works(client, good)


def test_a_source_that_is_slow_throughout_is_given_up(good, monkeypatch):
    client = DecodeClient(Settings(timeout_seconds=1000.0))
    _works(client, good)
    read, now = client._read, 0.0

    def slowly(size, deadline):  # as if each clip came just within its time
        nonlocal now
        now += 400 if size == 4 else 0
        return read(size, deadline)

    monkeypatch.setattr("mmv_tf.beam.decoding.client.time", types.SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(client, "_read", slowly)
    monkeypatch.setattr("mmv_tf.beam.decoding.client._SLOWEST", 0.001)
    answers = client.ask(str(good), [(0.1 * n, 0.1 * n + 0.5) for n in range(5)])
    with pytest.raises(Failure, match="slow throughout: not all clips finished within 1400 s") as caught:
        list(answers)
    assert caught.value.reason is Reason.TIMEOUT
    client.close()


def test_a_dead_child_is_told_and_not_waited_for(client, tmp_path):
    """Killed while it is at work, not between two answers; who waited would say TIMEOUT."""
    path = write_video(tmp_path / "long.mp4", seconds=20, fps=2, size=(320, 240), sound_codec=None)
    answers = client.ask(str(path), [(0.0, 20.0)])
    next(answers)
    os.kill(client._child.pid, signal.SIGSEGV)
    with pytest.raises(Failure, match="SIGSEGV") as caught:
        list(answers)
    assert caught.value.reason is Reason.CRASH


def test_a_clip_of_too_many_bytes_and_pictures_of_too_long_a_side(tmp_path):
    noise = np.random.default_rng(0)
    path = write_video(
        tmp_path / "a.mp4", seconds=4, fps=10, sound_codec=None,
        draw=lambda n: noise.integers(0, 256, (48, 64, 3), np.uint8) if n >= 20 else np.zeros((48, 64, 3), np.uint8),
    )  # fmt: skip
    settings = dataclasses.replace(Settings(), max_clip_bytes=40_000)
    with contextlib.closing(DecodeClient(settings)) as client:
        answers = [header for header, _ in client.ask(str(path), [(0.0, 2.0), (2.0, 4.0), (0.0, 1.0)])]
    assert [answer.get("reason") for answer in answers[1:]] == [None, None, "too_large"]
    assert answers[-1]["detail"] == "0 MiB of pictures and sound or more, over 0 MiB: cut it shorter"
    path = write_video(tmp_path / "b.mp4", times=[0.0], size=(4096, 64), sound_codec=None)
    with contextlib.closing(DecodeClient(Settings())) as client:
        with pytest.raises(
            Failure, match="a picture would be 4096x64 pixels, and its long side at most 2048"
        ) as caught:
            list(client.ask(str(path), [(0.0, None)]))
    assert caught.value.reason is Reason.TOO_LARGE
