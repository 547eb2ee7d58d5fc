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
    return _encoded(".jpg", np.concatenate(small, axis=1), [cv2.IMWRITE_JPEG_QUALITY, 72])


def spectrogram(samples: np.ndarray, rate: float, width: int = 240, height: int = 90, top: float = 8000.0) -> bytes:
    """JPEG of the log spectrogram of float [S] in [-1, 1] up to `top` Hz: time to the right, pitch upwards."""
    import cv2

    window = 1024
    padded = np.pad(np.asarray(samples, np.float64), (0, max(0, window - len(samples))))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[:: max(1, len(padded) // width)]
    magnitude = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1)).T
    magnitude = magnitude[: max(2, min(len(magnitude), round(top / rate * window)))]
    # 80 dB from a full-scale tone (window / 4) down.
    level = np.clip(1 + np.log10(np.maximum(magnitude / (window / 4), 1e-9)) / 4, 0, 1)
    picture = cv2.resize((255 * level[::-1]).astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    return _encoded(".jpg", cv2.applyColorMap(picture, cv2.COLORMAP_INFERNO)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])


def _encoded(suffix: str, rgb: np.ndarray, options: list) -> bytes:
    import cv2

    done, content = cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]), options)
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {list(rgb.shape)} as {suffix}")
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
