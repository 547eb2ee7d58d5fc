"""Small pictures and sounds for the page: frame strips, spectrograms, WAV, data URIs. No TensorFlow."""

import base64
import io
import wave

import numpy as np

WAV_RATE = 11_025  # Hz; enough to recognise a sound, and a page stays small


def data_uri(kind: str, content: bytes) -> str:
    """`kind` is a MIME type such as image/jpeg."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def strip(frames: np.ndarray, count: int = 3, height: int = 108) -> bytes:
    """JPEG of `count` frames side by side, evenly spaced in uint8 [T, H, W, 3]."""
    import cv2

    chosen = np.asarray(frames)[np.linspace(0, len(frames) - 1, count).round().astype(int)]
    width = max(1, round(chosen.shape[2] * height / chosen.shape[1]))
    shrinks = height < chosen.shape[1]
    small = [
        cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR) for f in chosen
    ]
    return encoded(np.concatenate(small, axis=1), 72)


def spectrogram(samples: np.ndarray, rate: float, width: int = 240, height: int = 90, top: float = 8000.0) -> bytes:
    """JPEG of the log spectrogram of float [S] in [-1, 1] up to `top` Hz."""
    window = 1024
    padded = np.pad(np.asarray(samples, np.float64), (0, max(0, window - len(samples))))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[:: max(1, len(padded) // width)]
    magnitude = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1))
    magnitude = magnitude[:, : max(2, min(magnitude.shape[1], round(top / rate * window)))]
    # 80 dB from a full-scale tone (window / 4) down.
    levels = np.clip(1 + np.log10(np.maximum(magnitude / (window / 4), 1e-9)) / 4, 0, 1)
    return encoded(coloured(levels, width, height), 80)


def coloured(levels: np.ndarray, width: int, height: int) -> np.ndarray:
    """A spectrogram in colours, whatever it was made of: time to the right, pitch upwards, loud is bright.

    Args:
      levels: float [T, F] in [0, 1]. Where the picture is smaller than that, a pixel is a mean; where it is larger, a
        value is repeated.
    Returns:
      uint8 RGB [height, width, 3].
    """
    import cv2

    picture = np.ascontiguousarray((255 * levels.T[::-1]).astype(np.uint8))
    within = (min(width, picture.shape[1]), min(height, picture.shape[0]))
    picture = cv2.resize(picture, within, interpolation=cv2.INTER_AREA)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.applyColorMap(picture, cv2.COLORMAP_MAGMA)[..., ::-1]


def encoded(rgb: np.ndarray, quality: int) -> bytes:
    """JPEG of uint8 [H, W, 3].

    Raises:
      ValueError: OpenCV cannot encode it.
    """
    import cv2

    done, content = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {list(rgb.shape)} as a JPEG")
    return content.tobytes()


def wav(samples: np.ndarray, rate: float) -> bytes:
    """WAV, 8 bits and WAV_RATE samples a second, of mono float [S] in [-1, 1] at `rate`."""
    samples = np.asarray(samples, np.float64)
    # A mean over each output sample's span: crude, but without the whistling of skipped samples.
    edges = np.minimum(np.arange(int(len(samples) / rate * WAV_RATE) + 1) * rate / WAV_RATE, len(samples)).astype(int)
    total = np.concatenate([[0.0], np.cumsum(samples)])
    means = (total[edges[1:]] - total[edges[:-1]]) / np.maximum(edges[1:] - edges[:-1], 1)
    levels = np.clip(np.round(128 + 127 * means), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(WAV_RATE)
        out.writeframes(levels.tobytes())
    return file.getvalue()
