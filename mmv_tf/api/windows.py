"""Inputs of `Model.embed` as windows: files, decoded and cut as `mmv_tf embed` does it, and arrays, cut alike."""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmv_tf.beam.decoding.client import DecodeClient
from mmv_tf.beam.decoding.image_worker import ImageClient
from mmv_tf.export.embedding.clip_cutter import ClipCutter, ClipSettings
from mmv_tf.export.embedding.inputs import FileReader

Array = np.ndarray
Item = str | os.PathLike | Array | tuple[Array, float]

_AXES = {"video": "[T,H,W,3]", "image": "[H,W,3]", "audio": "[S]"}
_WHAT = {"video": "pictures that move", "image": "picture", "audio": "sound, or it is silent"}
_BRIGHTEST = 1.5  # what resampling of [0, 1] overshoots to; 0..255 does not pass
_LOUDEST = 8.0
_FASTEST = 1e9  # Hz
_CONTENT = bytes | bytearray  # of a file, or its path: which, nobody says


class Row(NamedTuple):
    """An input: how messages call it, and what was given."""

    name: str
    item: Item


def rows(modality: str, given) -> list[Row]:
    """The inputs of a modality, each with its name in messages: 'video[3]', or the path of a file.

    Args:
      modality: 'video', 'image', 'audio' or 'text'.
      given: one input or a sequence of them; an array with one axis more than an input has, too.
    Raises:
      ValueError: neither; says what it is.
    """
    if modality == "text":
        texts: list = [given] if isinstance(given, str | bytes) or not isinstance(given, Iterable) else list(given)
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise ValueError(f"text: a string or a list of strings, not {type(wrong[0]).__name__}")
        return [Row(f"text[{number}]", text) for number, text in enumerate(texts)]
    axes = _AXES[modality].count(",") + 1
    ndim = getattr(given, "ndim", None)
    alone = isinstance(given, str | os.PathLike) or _is_timed(given) or ndim == axes
    several = ndim == axes + 1 or (isinstance(given, Sequence) and not isinstance(given, _CONTENT))
    wanted = f"paths of files or arrays {_AXES[modality]}"
    if not alone and not several:
        shape = getattr(given, "shape", None)
        what = type(given).__name__ if shape is None else f"an array of shape {list(shape)}"
        raise ValueError(f"{modality}: {wanted}, not {what}")
    found = []
    for number, item in enumerate([given] if alone else given):
        if isinstance(item, _CONTENT):
            raise ValueError(f"{modality}[{number}]: {wanted}, not {type(item).__name__}")
        is_file = isinstance(item, str | os.PathLike)
        found.append(Row(os.path.expanduser(os.fsdecode(item)) if is_file else f"{modality}[{number}]", item))
    return found


def _is_timed(given) -> bool:
    """Whether it is (array, rate)."""
    return isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], int | float | np.number)


class Windows:
    """Inputs to windows of the length that a network was trained on; a context, at whose end the children go.

    It can be entered again, and then traces nothing anew.

    Args:
      settings: of the network.
    """

    def __init__(self, settings: ClipSettings):
        self._settings = settings
        self._cutters: dict = {}
        self._readers: dict = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._readers = {}
        self._stack.close()

    def of(self, modality: str, row: Row) -> Iterator[Array]:
        """The windows of an input: video uint8 or float32 [T,H,W,3], image [H,W,3], audio float32 [S].

        Raises:
          ValueError: it cannot be read, has nothing of this modality, or is no such array; one line that names it.
        """
        if isinstance(row.item, str | os.PathLike):
            yield from self._of_file(modality, row.name)
            return
        array, rate = row.item if _is_timed(row.item) else (row.item, None)
        array = _checked(modality, row.name, np.asarray(array), rate)
        yield from getattr(self, f"_of_{modality}")(array, rate)

    def _of_file(self, modality, path):
        if not os.path.isfile(path):
            what = "a folder: give its files" if os.path.isdir(path) else "no such file"
            raise ValueError(f"{modality}: {path}: {what}")
        reader, cutter, said, empty = self._reader(modality), self._cutter(modality), "", True
        for read in reader.read((os.path.realpath(path).lstrip(os.sep),)):
            if read.rejection:
                said = said or f"{read.rejection.reason}: {read.rejection.detail}"
                continue
            for one in cutter.cut(read.serialized):
                empty = False
                yield one.value
        if empty:
            raise ValueError(f"{modality}: {path}: " + (said or f"has no {_WHAT[modality]}"))

    def _reader(self, modality):
        client = ImageClient if modality == "image" else DecodeClient
        if client not in self._readers:
            # From the root: the caller named the file, so it may lie, and lead, anywhere.
            reader = FileReader(os.sep, self._settings.decoding(), client)
            reader.open()
            self._stack.callback(reader.close)
            self._readers[client] = reader
        return self._readers[client]

    def _cutter(self, modality):
        if modality not in self._cutters:
            self._cutters[modality] = ClipCutter(self._settings, [modality])
        return self._cutters[modality]

    def _of_video(self, frames, rate):
        settings = self._settings
        rate = rate or settings.frame_rate
        span = max(1, math.ceil(settings.num_frames * rate / settings.frame_rate - 1e-3))
        for start in _starts(len(frames), span):
            steps = start + np.round(np.arange(settings.num_frames) * rate / settings.frame_rate).astype(int)
            inside = start + span <= len(frames)
            yield self._fitted(frames[np.minimum(steps, len(frames) - 1) if inside else steps % len(frames)])

    def _of_image(self, image, rate):
        yield self._fitted(image[None])[0]

    def _of_audio(self, waveform, rate):
        settings = self._settings
        if rate and rate != settings.audio.sample_rate:
            from scipy import signal

            common = math.gcd(round(rate), settings.audio.sample_rate)
            up, down = settings.audio.sample_rate // common, round(rate) // common
            waveform = signal.resample_poly(waveform, up, down).astype(np.float32)
        span = round(settings.seconds * settings.audio.sample_rate)
        for start in _starts(len(waveform), span):
            yield waveform[(start + np.arange(span)) % len(waveform)]

    def _fitted(self, frames):
        """[T,H,W,3], the short side resized to min_side and the middle cropped; of the crop's size it is as it was."""
        from mmv_tf.inputs.video import preprocess_ops_3d

        size, side = self._settings.crop_size, self._settings.min_side
        if frames.shape[1:3] == (size, size):
            return frames
        if min(frames.shape[1:3]) == side:  # need not become floats
            top, left = ((length - size) // 2 for length in frames.shape[1:3])
            return frames[:, top : top + size, left : left + size]
        ops, whole = preprocess_ops_3d(), frames.dtype == np.uint8
        resized = ops.crop_image(ops.resize_smallest(frames.astype(np.float32), side), size, size).numpy()
        return (resized + 0.5).astype(np.uint8) if whole else resized


def _starts(length: int, span: int) -> np.ndarray:
    """First indices of windows side by side over an input, as ClipCutter places them in a record."""
    number, last = max(1, math.floor(length / span + 0.5)), max(0, length - span)
    return np.array([last // 2]) if number == 1 else np.linspace(0, last, number).astype(int)


def _checked(modality, name, array, rate):
    """The array with values in [0, 1] or [-1, 1] as float32, or of pixels as uint8. ValueError: it is none such."""
    axes = _AXES[modality].count(",") + 1
    if array.ndim != axes or (modality != "audio" and array.shape[-1] != 3) or not array.size:
        raise ValueError(f"{name}: an array {_AXES[modality]}, none of them 0, not {list(array.shape)}")
    slowest = 1 if modality == "audio" else 0  # sound is resampled from whole Hz
    if rate is not None and not (rate >= slowest and 0 < rate <= _FASTEST):
        raise ValueError(f"{name}: {rate} is no number of frames or samples a second")
    if modality == "audio" and array.dtype == np.int16:
        return array.astype(np.float32) / 32768
    if modality != "audio" and array.dtype == np.uint8:
        return array
    wanted = "float in [-1, 1] or int16" if modality == "audio" else "uint8, or float in [0, 1]"
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name}: {wanted}, not {array.dtype}")
    array, most = array.astype(np.float32), _LOUDEST if modality == "audio" else _BRIGHTEST
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds NaN or Inf")
    low, high = float(array.min()), float(array.max())
    if high > most or low < (-most if modality == "audio" else 1 - most):
        raise ValueError(f"{name}: {wanted}; these values lie between {low:g} and {high:g}")
    return array


def as_float(window: Array) -> Array:
    """uint8 pixels in [0, 1]; others as they are."""
    return window.astype(np.float32) / 255 if window.dtype == np.uint8 else window
