"""The demo's data without the emulator (an extra of the demo): files, fingerprints, duplicates, sound."""

import subprocess

import numpy as np
import pytest

from demo import captions, duplicates, encode, games
from mmv_tf.common.files import whole_file

FPS = 20


def episode(seed, seconds=2.0):
    """A square that moves over a grey ground, and a tone whose pitch changes: frames, samples."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(int(seconds * FPS)):
        frame = np.full((42, 32, 3), 40 + 10 * (seed % 3), np.uint8)
        top = (3 * index + 7 * seed) % 30
        frame[top : top + 10, 4:20] = rng.integers(0, 255, 3)
        frames.append(frame)
    time = np.arange(int(seconds * encode.SOUND_RATE)) / encode.SOUND_RATE
    return frames, (0.4 * np.sin(2 * np.pi * (300 + 90 * seed) * time * (1 + time))).astype(np.float32)


def test_equal_frames_give_equal_bytes_whatever_lay_in_memory_before(tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (210, 160, 3), dtype=np.uint8) // 8 * 8
    frames = [np.roll(picture, (n % 7, 2 * n), (0, 1)) for n in range(100)]
    written = set()
    for attempt in range(5):
        encode.write_mp4(tmp_path / "a.mp4", frames, np.zeros(encode.SOUND_RATE, np.float32), FPS, comment="")
        written.add((tmp_path / "a.mp4").read_bytes())
        del [np.full((300, 400), 37 * attempt % 255, np.uint8) for _ in range(50)][:]
    assert len(written) == 1


def test_mp4_holds_the_frames_and_the_sound_in_step(tmp_path):
    import av

    frames, samples = episode(1)
    encode.write_mp4(tmp_path / "a.mp4", frames, samples, FPS, comment="what made it")
    encode.write_mp4(tmp_path / "b.mp4", frames, samples, FPS, comment="what made it")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert encode.read_comment(tmp_path / "a.mp4") == "what made it"
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == len(frames)
    assert np.abs(np.stack(decoded).astype(int) - np.stack(frames)).mean() < 6
    with av.open(str(tmp_path / "a.mp4")) as container:
        back = av.AudioResampler(format="flt", layout="mono", rate=encode.SOUND_RATE)
        pieces = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in back.resample(frame)]
    heard = np.concatenate(pieces)[: len(samples)]
    assert np.corrcoef(heard, samples)[0, 1] > 0.95


def test_unreadable_file_has_no_comment(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    assert encode.read_comment(tmp_path / "a.mp4") is None


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(KeyboardInterrupt), whole_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with whole_file(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"


def test_waveform_has_no_idle_level():
    time = np.arange(encode.SOUND_RATE) / encode.SOUND_RATE
    beep = (144 + 32 * np.sign(np.sin(2 * np.pi * 440 * time))).astype(np.uint8)
    got = games.waveform(beep)
    assert got.dtype == np.float32 and len(got) == len(beep)
    assert abs(got.mean()) < 0.01
    np.testing.assert_allclose(np.abs(got[2000:-2000]), 0.25, atol=0.03)  # 32 of 128
    np.testing.assert_allclose(games.waveform(np.full(5000, 136, np.uint8)), 0, atol=1e-7)


def test_rendering_is_resumed_and_redone_when_settings_change(tmp_path, monkeypatch):
    calls = []

    def play(game, seed, seconds, fps):
        calls.append(seed)
        frames, samples = episode(seed, seconds)
        for frame, sound in zip(frames, np.split(samples, len(frames)), strict=True):
            yield frame, np.round(128 + 100 * sound).astype(np.uint8)

    monkeypatch.setattr(games, "play", play)
    output = tmp_path / "videos"
    assert games.render("seaquest", "test", 5, output, 2.0, FPS)
    assert not games.render("seaquest", "test", 5, output, 2.0, FPS)
    assert games.render("seaquest", "test", 5, output, 3.0, FPS)
    (output / "test/seaquest/05.mp4").unlink()
    assert games.render("seaquest", "test", 5, output, 3.0, FPS)
    assert len(calls) == 3
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["fingerprints/test/seaquest/05.npz", "videos/test/seaquest/05.mp4", "videos/test/seaquest/05.srt"]
    assert "-->" in (output / "test/seaquest/05.srt").read_text()


def test_episodes_are_split_by_seed():
    assert games.episodes(2, 1) == [("train", 0), ("train", 1), ("test", 2)]
    assert games.GAMES == tuple(captions.WORDINGS) and len(games.GAMES) >= 20


def test_a_game_that_kills_its_process_is_named(tmp_path, monkeypatch):
    def dies(command, **_):
        return subprocess.CompletedProcess(command, -11, "", "Attempt to wrap ROM failed\n")

    monkeypatch.setattr(subprocess, "run", dies)
    with pytest.raises(RuntimeError, match="game 'pong' could not be rendered: Attempt to wrap"):
        games.render_all(tmp_path, ["pong"], 1, 1, 1.0, FPS, 1)


def test_shifted_difference():
    rows = np.arange(20, dtype=np.uint8)[:, None] * np.ones((1, 3), np.uint8)
    assert duplicates.shifted_difference(rows[5:9], rows) == 0
    assert duplicates.shifted_difference(rows[5:9] + 100, rows) == 89  # nearest: the last four rows, 16..19
    assert duplicates.shifted_difference(rows, rows[:3]) == float("inf")


def test_clips_seen_in_training_are_found_whatever_the_shift(tmp_path):
    def save(name, frames, samples):
        path = tmp_path / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **encode.fingerprint(frames, samples, FPS))

    step = encode.SOUND_RATE // FPS
    frames, samples = episode(1, 4.0)
    save("train/game/00", frames, samples)
    save("test/game/01", frames[10:50], samples[10 * step : 50 * step])  # the same, half a second later
    new_frames, new_samples = episode(2)
    save("test/game/02", new_frames, new_samples)
    save("test/game/03", new_frames, new_samples)  # its twin
    save("test/game/04", episode(5)[0], np.zeros_like(new_samples))
    clips = [duplicates.Clip(f"test/game/0{n}", 0.0, 2.0) for n in (1, 2, 3, 4)]
    verdicts = duplicates.judge(tmp_path, clips)
    assert [verdict.reason for verdict in verdicts] == ["seen video", "", "twin", "silent"]
    assert verdicts[0].video == 0 and verdicts[1].video > 1
