"""An index made, and made anew where the files have changed: only what is new, changed, moved or gone costs work."""

import concurrent.futures
import hashlib
import os
import sys
import time
from typing import NamedTuple

import numpy as np

from mmv_tf.beam.captions import cues
from mmv_tf.beam.captions.sidecars import Sidecars
from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.remarks import Remarks
from mmv_tf.beam.sources import folder as folders
from mmv_tf.beam.sources import paths, source_files
from mmv_tf.searching import playing
from mmv_tf.searching.embedder import BATCH, Embedder
from mmv_tf.searching.store import File, Store, Window

_SAMPLE = 1 << 20  # bytes at the beginning, middle and end by which a file is known again
_DARK, _FLAT, _SILENT = 16, 6, 1e-3  # grey level and its spread; root mean square
_FILES_AT_ONCE = 8  # in a transaction
_WIDTH, _FRAMES = 160, 5  # of the strip that shows a window


class Report(NamedTuple):
    """What an update has done, in files."""

    new: int
    changed: int
    moved: int
    gone: int
    same: int
    unreadable: int

    def __str__(self):
        return ", ".join(f"{number} {name}" for name, number in self._asdict().items())


def update(store: Store, embedder: Embedder, root: str, progress: bool = True) -> Report:
    """Brings an index up to what lies in a folder.

    What is finished is kept when it is stopped: each few files are one transaction. What is gone goes first.

    Raises:
      ValueError: no such folder.
    """
    folders_root = os.path.abspath(root)
    paths.check_root("--videos", folders_root)
    known = {path: (size, changed, content) for path, size, changed, content in
             store.rows("SELECT path, size, changed, content FROM files")}  # fmt: skip
    found = _found(folders_root)
    same = {path for path, mark in found.items() if path in known and known[path][:2] == mark}
    gone = {path for path in known if path not in found}
    fresh = sorted(found.keys() - same)
    # A file that went from one place to another is the same: known by what it holds.
    by_content = {known[path][2]: path for path in gone}
    moved = changed = 0
    left = []
    for path in fresh:
        content = _content(folders_root, path)
        if content is not None and content in by_content:
            before = by_content.pop(content)
            store.move(before, path, found[path][1])
            gone.discard(before)
            moved += 1
        else:
            left.append((path, content))
            changed += path in known
    if gone:
        store.put([], sorted(gone))
    unreadable = _embed(store, embedder, folders_root, left, found, progress)
    store.tidy()
    return Report(len(left) - changed, changed, moved, len(gone), len(same), unreadable)


def _found(root):
    """{path: (size, time in nanoseconds)} of the videos and sounds below a folder."""
    found = {}
    for path in folders.media_files(root):
        try:
            path.encode("utf-8")
            status = os.stat(os.path.join(root, path))
        except (OSError, UnicodeEncodeError):
            continue
        found[path] = status.st_size, status.st_mtime_ns
    return found


def _content(root, path):
    """An identity of what a file holds; None if it cannot be read."""
    try:
        descriptor = paths.opened(root, path)
    except paths.Refused:
        return None
    with open(descriptor, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        for at in (0, size // 2, max(0, size - _SAMPLE)):
            file.seek(at)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _embed(store, embedder, root, files, found, progress):
    from tqdm import tqdm

    unreadable, batch, kept = 0, [], time.monotonic()
    client = DecodeClient(embedder.decoding)
    # The next file is decoded while the network is at work on this one: both take a core or more.
    with (
        concurrent.futures.ThreadPoolExecutor(1) as ahead,
        tqdm(total=len(files), unit="file", file=sys.stderr, mininterval=1.0, disable=not progress) as bar,
    ):
        try:
            waiting = [ahead.submit(_decoded, embedder, client, root, path) for path, _ in files[:2]]
            for number, (path, content) in enumerate(files):
                pieces, kind, plays, why = waiting.pop(0).result()
                if number + 2 < len(files):
                    waiting.append(ahead.submit(_decoded, embedder, client, root, files[number + 2][0]))
                windows = []
                for begin in range(0, len(pieces), BATCH):
                    some = pieces[begin : begin + BATCH]
                    windows += [_window(*one) for one in zip(some, embedder.embed(some), strict=True)]
                unreadable += bool(why)
                seconds = pieces[-1].end if pieces else 0.0
                narrations = [] if why else _narrations(root, path)
                batch.append(File(path, *found[path], content or "", seconds, why, plays, kind, windows, narrations))
                bar.update()
                if len(batch) == _FILES_AT_ONCE or time.monotonic() - kept > 5.0:
                    store.put(batch)
                    batch, kept = [], time.monotonic()
        finally:
            if batch:
                store.put(batch)
            client.close()
    return unreadable


def _decoded(embedder, client, root, path):
    """(list of Piece, kind, whether a browser plays it, why it cannot be read or '')."""
    try:
        with source_files.opened(root, path, embedder.decoding.max_file_bytes) as found:
            kind, plays = playing.looked_at(found.file)
            return list(embedder.windows(client, found.file)), kind, plays, ""
    except (source_files.Refused, Failure) as error:
        return [], "video", False, f"{error.reason.value}: {error}"


def _window(piece, vectors):
    dark = False
    if piece.jpegs:
        picture, dark = _strip(piece.jpegs)
    else:
        picture = _spectrogram(piece)
    silent = (
        piece.waveform is None
        or float(np.sqrt(np.mean(np.square(piece.waveform)) if len(piece.waveform) else 0)) < _SILENT
    )
    return Window(piece.start, piece.end, dark, silent, picture, vectors)


def _strip(jpegs):
    """(JPEG of some frames side by side, whether the window is dark or of one colour)."""
    import cv2

    from mmv_tf.pages import pictures

    frames = []
    for number in np.linspace(0, len(jpegs) - 1, _FRAMES).round().astype(int):
        image = cv2.imdecode(np.frombuffer(jpegs[number], np.uint8), cv2.IMREAD_COLOR)
        height = max(1, round(image.shape[0] * _WIDTH / image.shape[1]))
        frames.append(cv2.resize(image, (_WIDTH, min(height, 3 * _WIDTH)), interpolation=cv2.INTER_AREA)[..., ::-1])
    level, spread = max(frame.mean() for frame in frames), max(frame.std() for frame in frames)
    return pictures.encoded(np.concatenate(frames, axis=1), 75), bool(level < _DARK or spread < _FLAT)


def _spectrogram(piece):
    from mmv_tf.pages import pictures

    rate = len(piece.waveform) / max(piece.end - piece.start, 1e-6)
    return pictures.spectrogram(piece.waveform, rate, _WIDTH, 90)


def _narrations(root, path):
    """(start, end, text) of the captions beside a file."""
    folder, name = os.path.split(path)
    try:
        candidates, _ = Sidecars(sorted(os.listdir(os.path.join(root, folder))), [name]).of(name)
        for sidecar in candidates:
            captions = cues.read(paths.opened(root, os.path.join(folder, sidecar.name)), Remarks(), sidecar.name)
            if captions:
                return [(caption.start, caption.end, caption.text) for caption in captions]
    except (OSError, paths.Refused):
        return []
    return []
