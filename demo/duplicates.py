"""Held-out clips that are as good as seen: near-duplicates of something in training, or of another held-out clip.

Games repeat themselves: two episodes that start alike can show the same seconds. Finding such a clip would say
nothing, so the evaluation leaves it out and reports how many there were. Compared are the fingerprints of
demo/encode.py, at every shift of a tenth of a second, within a game.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from demo.encode import FINGERPRINT_RATE

# Mean absolute differences below which two clips are the same: of grey thumbnails in levels of 255, and of log
# energies in bels. SILENT: root mean square of the waveform, in which 1 is full scale.
VIDEO_SAME = 0.5
SOUND_SAME = 0.1
SILENT = 0.002


class Clip(NamedTuple):
    """A part of an episode: `video` relative to the folder of videos, without suffix; seconds."""

    video: str
    start: float
    end: float


class Verdict(NamedTuple):
    """Mean absolute difference to the nearest piece of training data, and what follows from it."""

    video: float
    sound: float
    reason: str  # '' or 'seen video', 'seen sound', 'twin', 'silent'


def shifted_difference(clip: np.ndarray, episode: np.ndarray) -> float:
    """Smallest mean absolute difference of clip [L, D] and any stretch of L rows of episode [M, D], M >= L."""
    from scipy.spatial.distance import cdist

    length, num = clip.shape[0], episode.shape[0]
    if num < length:
        return float("inf")
    distance = cdist(clip.astype(np.float64), episode.astype(np.float64), "cityblock") / clip.shape[1]
    shifts = num - length + 1
    # Row i of the clip meets row shift + i of the episode: a mean along the diagonals.
    diagonals = np.lib.stride_tricks.as_strided(
        distance, (shifts, length), (distance.strides[1], distance.strides[0] + distance.strides[1]), writeable=False
    )
    return float(diagonals.mean(axis=1).min())


def _cut(fingerprint: dict, start: float, end: float) -> dict:
    first = round(start * FINGERPRINT_RATE)
    return {name: rows[first : first + round((end - start) * FINGERPRINT_RATE)] for name, rows in fingerprint.items()}


def judge(fingerprints: pathlib.Path, clips: list[Clip]) -> list[Verdict]:
    """A verdict on each held-out clip; `fingerprints` is the folder that demo.games wrote (train/, test/)."""

    def load(path: pathlib.Path) -> dict:
        with np.load(path) as arrays:
            return dict(arrays)

    games = sorted({clip.video.split("/")[1] for clip in clips})
    train = {game: [load(path) for path in sorted((fingerprints / "train" / game).glob("*.npz"))] for game in games}
    episodes = {video: load(fingerprints / f"{video}.npz") for video in sorted({clip.video for clip in clips})}
    kept: dict[str, list[dict]] = {game: [] for game in games}
    verdicts = []
    for clip in clips:
        game, piece = clip.video.split("/")[1], _cut(episodes[clip.video], clip.start, clip.end)
        nearest = {
            name: min((shifted_difference(piece[name], other[name]) for other in train[game]), default=float("inf"))
            for name in ("video", "sound")
        }

        def same(other, piece=piece):
            video = shifted_difference(piece["video"], other["video"]) < VIDEO_SAME
            return video and shifted_difference(piece["sound"], other["sound"]) < SOUND_SAME

        if np.sqrt(np.mean(piece["level"] ** 2)) < SILENT:
            reason = "silent"
        elif nearest["video"] < VIDEO_SAME:
            reason = "seen video"
        elif nearest["sound"] < SOUND_SAME:
            reason = "seen sound"
        elif any(same(other) for other in kept[game]):
            reason = "twin"
        else:
            reason = ""
            kept[game].append(piece)
        verdicts.append(Verdict(nearest["video"], nearest["sound"], reason))
    return verdicts
