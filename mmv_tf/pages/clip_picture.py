"""A clip of a training batch as one picture: frames, spectrogram and narrations as the network gets them."""

import unicodedata
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from mmv_tf.pages import pictures

FRAMES = 4  # shown of a clip
_SMALLEST = 96  # pixels: smaller frames and spectrograms are enlarged by whole factors
_NARROWEST = 448  # pixels, so that a narration fits into few lines
_LINE, _MARGIN, _SCALE = 16, 4, 0.4
_FONT = cv2.FONT_HERSHEY_SIMPLEX
BACKGROUND = 24
_INK, _MISSING_INK = (235, 235, 235), (255, 150, 90)


def draw(clip: Mapping[str, np.ndarray], words: Sequence[str] = (), source: str = "") -> np.ndarray:
    """Draws a clip, top to bottom: its source and label, frames, spectrogram, one narration a paragraph.

    Time runs from left to right through frames and spectrogram alike, pitch upwards. What the batch has no key for
    is left out; what a mask says is missing is shown as missing.

    Args:
      clip: one sample of a batch: video [T, H, W, 3] in [0, 1], audio [T', M, 1] or a waveform [S], text [K, W] word
        ids, their masks and label [], each of them optional.
      words: the vocabulary, whose first word has the id 1.
      source: name of the set that the clip is from.
    Returns:
      uint8 [height, width, 3], RGB.
    """
    frames = np.clip(np.rint(np.asarray(clip["video"]) * 255), 0, 255).astype(np.uint8) if "video" in clip else None
    width = _NARROWEST
    if frames is not None:
        frames = strip(frames)
        width = max(width, frames.shape[1])
    label = int(clip.get("label", -1))
    about = [part for part in (source, f"label {label}" if label >= 0 else "no label") if part]
    parts = [_text(", ".join(about), width)]
    if frames is not None:
        there = bool(clip.get("video_mask", True))
        parts.append(_on_canvas(frames, width) if there else _missing("no frames", frames.shape[0], width))
    if "audio" in clip:
        there = bool(clip.get("audio_mask", True))
        sound = np.asarray(clip["audio"])
        picture = waveform(sound, width) if sound.ndim == 1 else spectrogram(sound, width)
        parts.append(picture if there else _missing("no sound", picture.shape[0], width))
    if "text" in clip:
        parts += _narrations(np.asarray(clip["text"]), clip.get("text_mask"), words, width)
    return np.concatenate([part for part in parts if len(part)])


def strip(frames: np.ndarray) -> np.ndarray:
    """Up to FRAMES frames of uint8 [T, H, W, 3] side by side, each from the middle of its part of the time."""
    count = min(FRAMES, len(frames))
    chosen = frames[[int((i + 0.5) * len(frames) / count) for i in range(count)]]
    return np.concatenate([_enlarged(frame) for frame in chosen], axis=1)


def spectrogram(log_mel: np.ndarray, width: int) -> np.ndarray:
    """Colours of log-mel [T', M, 1], from its least to its greatest value: time to the right, pitch upwards."""
    mel = log_mel[..., 0].astype(np.float32)
    span = mel.max() - mel.min()
    levels = (mel - mel.min()) / span if span else np.zeros_like(mel)
    return pictures.coloured(levels, width, mel.shape[1] * _factor(mel.shape[1]))


def waveform(samples: np.ndarray, width: int) -> np.ndarray:
    """A waveform [S], bright from the least to the greatest of the samples of a column, the loudest one at an edge."""
    edges = np.linspace(0, len(samples), width + 1).astype(int)
    columns = [
        samples[a : max(b, a + 1)] for a, b in zip(np.minimum(edges[:-1], len(samples) - 1), edges[1:], strict=True)
    ]
    most = max(np.abs(samples).max(), 1e-9)
    place = np.linspace(-most, most, _SMALLEST)
    low, high = (np.array([f(column) for column in columns]) for f in (np.min, np.max))
    half = 1.1 * most / _SMALLEST  # so that a constant is seen, too
    levels = (place >= low[:, None] - half) & (place <= high[:, None] + half)
    return pictures.coloured(0.8 * levels, width, _SMALLEST)


def narrations(ids: np.ndarray, words: Sequence[str]) -> list[str]:
    """The known words of each candidate [K, W], in their order; '' for none."""
    return [" ".join(words[i - 1] for i in row if 0 < i <= len(words)) for row in ids]


def _narrations(ids, mask, words, width):
    mask = (ids > 0).any(axis=-1) if mask is None else np.asarray(mask)
    sentences = [sentence for sentence, there in zip(narrations(ids, words), mask, strict=True) if there]
    if not sentences:
        return [_missing("no narration", _LINE + _MARGIN, width)]
    return [_text(f"{number}. {sentence}", width) for number, sentence in enumerate(sentences, start=1)]


def _factor(size: int) -> int:
    return -(-_SMALLEST // size)


def _enlarged(frame: np.ndarray) -> np.ndarray:
    factor = _factor(min(frame.shape[:2]))
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


def _on_canvas(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=BACKGROUND)


def _missing(what: str, height: int, width: int) -> np.ndarray:
    panel = np.full((height, width, 3), BACKGROUND + 24, np.uint8)
    cv2.putText(panel, what, (_MARGIN, height // 2 + 5), _FONT, _SCALE, _MISSING_INK, 1, cv2.LINE_AA)
    return panel


def _text(text: str, width: int) -> np.ndarray:
    """As many lines as `text` needs."""
    # Hershey fonts have ASCII letters only: an accent is left off, another script becomes question marks.
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c)).encode("ascii", "replace").decode()
    lines = [""]
    for word in plain.split():
        longer = f"{lines[-1]} {word}".strip()
        fits = cv2.getTextSize(longer, _FONT, _SCALE, 1)[0][0] <= width - 2 * _MARGIN
        lines = [*lines[:-1], longer] if fits or not lines[-1] else [*lines, f"   {word}"]
    panel = np.full((_LINE * len(lines) + _MARGIN, width, 3), BACKGROUND, np.uint8)
    for number, line in enumerate(lines, start=1):
        cv2.putText(panel, line, (_MARGIN, _LINE * number - 3), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
    return panel
