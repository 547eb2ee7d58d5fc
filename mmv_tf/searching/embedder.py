"""Files and queries to vectors, by an exported module: decoded in child processes, cut as the embedding job cuts."""

import dataclasses
import functools
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.decoding.image_worker import ImageClient
from mmv_tf.beam.specs import Settings
from mmv_tf.export import module_files
from mmv_tf.export.embedding import inputs as embedding_inputs
from mmv_tf.export.embedding.clip_cutter import ClipCutter, ClipSettings
from mmv_tf.export.embedding.pipeline import ModuleHandler
from mmv_tf.metrics import retrieval
from mmv_tf.records import schema
from mmv_tf.records.card import Reason
from mmv_tf.searching.engines.two_stage import unit

TARGETS = ("video", "audio")  # what a window of a file has
BATCH = 8
_PIECE_SECONDS = 30.0  # decoded at once


class Piece(NamedTuple):
    """A window that was decoded: seconds from the start of the source, frames as JPEGs, float32 sound.

    `shared` is how many of its first frames are the last ones of the window before it.
    """

    start: float
    end: float
    jpegs: list[bytes]
    size: tuple[int, int]
    waveform: np.ndarray | None
    shared: int = 0


class Embedder:
    """A module, loaded when first asked for.

    Args:
      folder: of the export.
      allow_file_operations: see module_files.check_operations.
    Raises:
      ValueError: no module, none of its signatures is of use here, or it can read and write files.
    """

    def __init__(self, folder: str, allow_file_operations: bool = False):
        module_files.check_operations(folder, allow_file_operations)
        self.folder, self.signatures = os.path.abspath(folder), module_files.signatures(folder)
        self.targets = tuple(name for name in TARGETS if name in self.signatures)
        if not self.targets:
            raise ValueError(f"{folder}: has neither a video nor an audio signature: no video can be searched by it")
        self.checksum = module_files.checksum(folder)
        if said := module_files.parse_config_or_published(folder):
            print(said, flush=True)
        self.clips = ClipSettings.from_gin(has_audio="audio" in self.signatures)
        self.pairs = module_files.modalities_compared(folder)

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.clips.seconds

    def spaces(self, modality: str) -> tuple[str, ...]:
        """The spaces of a modality, not its representation before the heads."""
        found = self.signatures[modality].spaces if modality in self.signatures else ()
        return tuple(space for space in found if space != "before_head")

    def common_space(self, query: str, target: str) -> str | None:
        """The space in which two modalities are compared (`retrieval.common_space`), or None if they have none."""
        query, target = ("video" if one == "image" and one not in self.signatures else one for one in (query, target))
        return retrieval.common_space(query, target, {name: self.spaces(name) for name in self.signatures})

    def was_trained(self, query: str, target: str) -> bool | None:
        """Whether the two modalities were compared in training; None where the module does not say."""
        return retrieval.was_trained(query, target, self.pairs)

    @functools.cached_property
    def decoding(self) -> Settings:
        return self.clips.decoding(jpeg_quality=90, clip_seconds=_PIECE_SECONDS)

    @property
    def queries(self) -> list[str]:
        """What can be asked with: a picture also where it is searched as a video that stands still."""
        found = [name for name in ("text", "image", "video", "audio") if name in self.signatures]
        return [*found, "image"] if "video" in found and "image" not in found else found

    @property
    def _of_pictures(self):
        """The signature that takes pictures, or None."""
        return next((name for name in ("image", "video") if name in self.signatures), None)

    @functools.cached_property
    def picture_cutter(self) -> ClipCutter:
        return ClipCutter(self.clips, [self._of_pictures])

    @functools.cached_property
    def window_cutter(self) -> ClipCutter:
        return ClipCutter(self.clips, self.targets)

    @functools.cached_property
    def _fresh_cutter(self) -> "_Fresh":
        """Of the frames of a window that the one before it has not."""
        frames = max(1, self.clips.num_frames // 2)
        return _Fresh(frames, ClipCutter(dataclasses.replace(self.clips, num_frames=frames, audio=None), ["video"]))

    @functools.cached_property
    def _sound_cutter(self) -> ClipCutter | None:
        return ClipCutter(self.clips, ["audio"]) if "audio" in self.targets else None

    def _handler(self, modality):
        handler = ModuleHandler(self.folder, modality, BATCH)
        return handler, handler.load_model()  # which is loaded once a process

    def load(self):
        """Loads the module and the cutter, so that the first question need not wait."""
        for modality in self.signatures:
            if modality in (*self.targets, "text"):
                self._handler(modality)
        return self.window_cutter, self._of_pictures and self.picture_cutter

    def vectors(self, modality: str, values: list) -> list[dict]:
        """{space: float32 [d]} of each input of a signature; {} for one that the module refuses or makes NaN of."""
        if not values:
            return []
        handler, model = self._handler(modality)
        found = []
        for begin in range(0, len(values), BATCH):
            for outputs in handler.run_inference(values[begin : begin + BATCH], model):
                if isinstance(outputs, str):
                    found.append({})
                    continue
                spaces = {space: outputs[space] for space in self.spaces(modality)}
                found.append(spaces if all(np.isfinite(vector).all() for vector in spaces.values()) else {})
        return found

    def inputs(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, dict[str, np.ndarray]]]:
        """(window, {modality: what its signature takes}) of the windows of a file, in the order of `windows`."""
        length, before = self.clips.num_frames, None  # frames of the window before
        for piece in pieces:
            fresh = len(piece.jpegs) - piece.shared
            if before is None or len(piece.jpegs) != length or fresh != self._fresh_cutter.frames:
                found = _cut(self.window_cutter, self._record(piece))
            else:  # decoding a frame costs more than all else here: what two windows share is not decoded twice
                found = _cut(self._sound_cutter, self._record(piece)) if self._sound_cutter else {}
                rest = piece._replace(end=piece.start + fresh / self.clips.frame_rate, waveform=None)
                rest = rest._replace(jpegs=piece.jpegs[piece.shared :])
                fresh_frames = _cut(self._fresh_cutter.cutter, self._record(rest))["video"]
                found["video"] = np.concatenate([before[fresh:], fresh_frames])
            before = found.get("video") if len(piece.jpegs) == length else None
            yield piece, found

    def embed(self, inputs: list[dict]) -> list[dict]:
        """{(modality, space): float32 [d]} of the inputs of each window."""
        found = [{} for _ in inputs]
        for modality in self.targets:
            places = [place for place, one in enumerate(inputs) if modality in one]
            values = [inputs[place][modality] for place in places]
            for place, spaces in zip(places, self.vectors(modality, values), strict=True):
                found[place] |= {(modality, space): vector for space, vector in spaces.items()}
        return found

    def _record(self, piece):
        settings = self.decoding
        return schema.encode(
            schema.Record(
                key="window",
                video_path="window",
                start=0.0,
                end=piece.end - piece.start,
                jpegs=tuple(piece.jpegs),
                frame_rate=settings.frame_rate,
                height=piece.size[0],
                width=piece.size[1],
                waveform=piece.waveform,
                sample_rate=settings.sample_rate,
            )
        )

    def windows(self, client: DecodeClient, file: str, span=(0.0, None)) -> Iterator[Piece]:
        """The windows of a file, half overlapping, in the order of time; the last one ends where the source does.

        Raises:
          Failure: nothing of it can be decoded.
        """
        cut = _Cutting(self.clips.num_frames, self.decoding)
        plan, failure = {}, None
        for header, blobs in client.ask(file, [span]):
            if "plan" in header:
                plan = {number: piece[1] for number, piece in enumerate(header["plan"])}
            elif "reason" in header:
                failure = Failure(Reason(header["reason"]), header["detail"])
                yield from cut.end()
            else:
                yield from cut.add(plan[header["piece"]], header, blobs)
        yield from cut.end()
        if failure and not cut.number:
            raise failure

    def of_text(self, text: str) -> dict:
        """{space: vector} of a sentence. ValueError: the module has no text, or knows no word of it."""
        if "text" not in self.signatures:
            raise ValueError("this module has no text: search by picture, sound or clip")
        (spaces,) = self.vectors("text", [text.encode()])
        if not spaces:
            raise ValueError("the module refuses this text, or makes NaN or Inf of it")
        nothing = self._of_no_words
        if nothing and all(retrieval.same(vector[None], nothing[space])[0] for space, vector in spaces.items()):
            raise ValueError("no word of this text is in the vocabulary of the module")
        return spaces

    @functools.cached_property
    def _of_no_words(self):
        """{space: vector} of the empty text, which all texts without a known word have."""
        (spaces,) = self.vectors("text", [b""])
        return spaces

    def of_file(self, kind: str, path: str, span=(0.0, None)) -> dict[str, dict]:
        """{modality: {space: vector}} of a picture, sound or video: of its windows the mean.

        Raises:
          ValueError: it cannot be decoded, or has nothing that the module takes; says why.
        """
        if kind == "image":
            return self._of_picture(path)
        client = DecodeClient(self.decoding)
        try:
            pieces = [piece for piece, _ in zip(self.windows(client, path, span), range(64), strict=False)]
        except Failure as failure:
            raise ValueError(f"cannot be decoded: {failure}") from None
        finally:
            client.close()
        if kind == "sound":
            pieces = [piece._replace(jpegs=[]) for piece in pieces]
        found = {}
        for vectors in self.embed([inputs for _, inputs in self.inputs(pieces)]):
            for (modality, space), vector in vectors.items():
                of_modality = found.setdefault(modality, {})
                of_modality[space] = of_modality.get(space, 0) + unit(vector)
        if not found:
            raise ValueError(f"nothing in it that the module takes ({', '.join(self.targets)})")
        return found

    def _of_picture(self, path):
        modality = self._of_pictures
        if modality is None:
            raise ValueError("this module has no pictures: search by sound or text")
        reader = embedding_inputs.FileReader(os.path.dirname(path), self.decoding, ImageClient, has_times=False)
        reader.open()
        try:
            (read,) = reader.read((os.path.basename(path),))
        finally:
            reader.close()
        if read.rejection:
            raise ValueError(f"cannot be decoded: {read.rejection.detail}")
        for item in self.picture_cutter.cut(read.serialized):
            (spaces,) = self.vectors(modality, [item.value])
            if spaces:
                return {"image": spaces}
        raise ValueError("no picture that the module takes")

    def of_upload(self, kind: str, content: bytes, suffix: str) -> dict[str, dict]:
        """`of_file` of bytes, which lie in a temporary file for as long as they are decoded."""
        with tempfile.TemporaryDirectory(prefix="mmv_tf-") as folder:
            path = pathlib.Path(folder, f"query{suffix if suffix[1:].isalnum() and len(suffix) < 8 else ''}")
            path.write_bytes(content)
            return self.of_file(kind, str(path))


class _Cutting:
    """Windows of `length` frames, each half a window after the one before, out of pieces that come one by one."""

    def __init__(self, length, settings):
        self._length, self._hop, self._rate = length, max(1, length // 2), settings.frame_rate
        self._sample_rate = settings.sample_rate
        self.number = 0  # of windows so far
        self._reset()

    def _reset(self):
        self._start, self._ticks, self._done = None, 0, 0  # of what is held; how much of it a window has shown
        self._jpegs, self._sound, self._size = [], np.zeros(0, np.float32), (0, 0)

    def add(self, start, header, blobs):
        frames, size = header["frames"], (header["height"], header["width"])
        waveform = np.frombuffer(blobs[frames], "<f4") if len(blobs) > frames else None
        ticks = frames or round((header["end"] - start) * self._rate)
        samples = round(ticks / self._rate * self._sample_rate)
        kind = bool(frames), waveform is not None, size
        fits = self._start is not None and kind == self._kind
        if not fits or abs(self._start + self._ticks / self._rate - start) > 0.5 / self._rate:
            yield from self.end()
            self._start, self._kind, self._size = start, kind, size
        self._jpegs += blobs[:frames]
        sound = np.zeros(samples, np.float32)
        if waveform is not None:
            sound[: len(waveform)] = waveform[:samples]
        self._sound = np.concatenate([self._sound, sound])
        self._ticks += ticks
        while self._ticks >= self._length:
            yield self._window(self._length)
            self._done = self._length - self._hop
            self._drop(self._hop)

    def _drop(self, ticks):
        self._jpegs = self._jpegs[ticks:]
        self._sound = self._sound[round(ticks / self._rate * self._sample_rate) :]
        self._start, self._ticks = self._start + ticks / self._rate, self._ticks - ticks

    def end(self):
        """The rest: at the end of a source, and before a gap."""
        if self._start is not None and self._ticks > self._done:
            yield self._window(self._ticks)
        self._reset()

    def _window(self, ticks):
        """The first so many of what is held."""
        self.number += 1
        seconds, start = ticks / self._rate, round(self._start, 6)
        sound = self._sound[: round(seconds * self._sample_rate)] if self._kind[1] else None
        return Piece(start, round(start + seconds, 6), self._jpegs[:ticks], self._size, sound, self._done)


class _Fresh(NamedTuple):
    """A cutter of clips of so many frames."""

    frames: int
    cutter: ClipCutter


def _cut(cutter, record):
    """{modality: its first input} of a record."""
    found = {}
    for item in cutter.cut(record):
        found.setdefault(item.modality, item.value)
    return found
