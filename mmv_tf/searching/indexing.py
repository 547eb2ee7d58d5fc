"""An index made, and made anew where the files have changed: only what is new, changed, moved or gone costs work."""

import contextlib
import hashlib
import os
import queue
import sys
import threading
import time
from typing import NamedTuple

import numpy as np

from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.remarks import Remarks, shown
from mmv_tf.beam.sources import folder as folders
from mmv_tf.beam.sources import paths, source_files
from mmv_tf.records.card import OF_THE_MOMENT, Reason
from mmv_tf.searching import engines, playing
from mmv_tf.searching.embedder import BATCH, Embedder
from mmv_tf.searching.store import File, Store, Window

_SAMPLE = 1 << 20  # bytes at the beginning, middle and end by which a file is known again
_DARK, _FLAT, _SILENT = 16, 6, 1e-3  # grey level and its spread; root mean square
_FILES_AT_ONCE = 8  # in a transaction
_PRODUCERS, _CHUNKS = 2, 3  # files that are decoded side by side, and lists of BATCH windows that wait of each
_WIDTH, _FRAMES = 160, 5  # of the strip that shows a window


def made_with(embedder: Embedder, root: str, engine: dict | None = None) -> tuple[dict, dict]:
    """What the index of a folder is made with, as a Store takes it: what stays, and what may change.

    Args:
      engine: see engines.settings; None for NumPy's.
    """
    more = {"module_folder": embedder.folder, "queries": embedder.queries, "targets": list(embedder.targets)}
    engine = engine or engines.settings(None, None, None)
    return {"module": embedder.checksum, "root": root, "seconds": embedder.seconds}, more | engine


class Report(NamedTuple):
    """What an update has done, in files; `unreadable` are all of the index that cannot be read."""

    new: int
    changed: int
    moved: int
    gone: int
    same: int
    unreadable: int
    captions: int = 0  # whose captions alone have changed
    recovered: int = 0  # of the same: could not be read before, and were now

    def __str__(self):
        return ", ".join(f"{number} {name}" for name, number in self._asdict().items())


def update(store: Store, embedder: Embedder, root: str, progress: bool = True, again: bool = True) -> Report:
    """Brings an index up to what lies in a folder.

    What is finished is kept when it is stopped: each few files are one transaction. What is gone goes first.

    Args:
      again: whether files are tried again that could not be read for a reason that lies in the moment.
    Raises:
      ValueError: no such folder.
    """
    folders_root = os.path.abspath(root)
    paths.check_root("--videos", folders_root)
    known = {path: (size, changed, content) for path, size, changed, content in
             store.rows("SELECT path, size, changed, content FROM files")}  # fmt: skip
    found, troubles, in_folders = found_below(folders_root)
    same = {path for path, mark in found.items() if path in known and known[path][:2] == mark}
    gone = {path for path in known if path not in found}
    momentary = {path for path, reason in _unreadable(store).items() if reason.partition(":")[0] in OF_THE_MOMENT}
    tried = (same & momentary) - troubles.keys() if again else set()
    fresh = sorted((found.keys() - same) | tried)
    # A file that went from one place to another is the same: known by what it holds.
    by_content = {known[path][2]: path for path in gone - momentary}
    changed = 0
    moved, left = set(), []
    for path in fresh:
        content = content_of(folders_root, path) if path not in troubles else None
        if content is not None and content in by_content:
            before = by_content.pop(content)
            store.move(before, path, found[path][1])
            gone.discard(before)
            moved.add(path)
        else:
            left.append((path, content))
            changed += path in known and path not in tried
    if gone:
        store.put([], sorted(gone))
    unlooked = [File(path, *found[path], "", 0.0, troubles[path], False, "video") for path, _ in left
                if path in troubles]  # fmt: skip
    if unlooked:
        store.put(unlooked)
    to_read = [one for one in left if one[0] not in troubles]
    _embed(store, embedder, folders_root, to_read, found, progress)
    said = _say_again(store, folders_root, (same | moved) - troubles.keys(), in_folders)
    store.tidy()
    unreadable, same = _unreadable(store), same - moved
    new = len(found) - len(same) - len(moved) - changed
    recovered = len((tried & same) - unreadable.keys())
    return Report(new, changed, len(moved), len(gone), len(same), len(unreadable), said, recovered)


def _unreadable(store):
    """{path: why} of all files that cannot be read."""
    return dict(store.rows("SELECT path, reason FROM files WHERE reason != ''"))


def found_below(root: str) -> tuple[dict[str, tuple[int, int]], dict[str, str], list[str]]:
    """({path: (size, time in nanoseconds)}, {path: why it is not even looked at}, folders) of what lies below a folder.

    The paths are of videos and sounds, and of folders that are not entered. What is only in the second has no size.
    """
    found, troubles, in_folders = {}, {}, []

    def trouble(path, reason, why):
        found[path], troubles[path] = (0, 0), f"{reason.value}: {why}"

    for folder, names in folders.by_folder(root, lambda path, why: trouble(shown(path), Reason.MISSING_FILE, why)):
        in_folders.append(folder)
        for path in (os.path.join(folder, name) for name in names if folders.is_media(name)):
            if why := paths.unusable_name(path):
                trouble(why.path, Reason.BAD_ROW, why.detail)
                continue
            try:
                status = os.stat(os.path.join(root, path))
            except OSError as error:  # gone in this moment, or a link to nothing
                trouble(path, Reason.MISSING_FILE, error.strerror)
            else:
                found[path] = status.st_size, status.st_mtime_ns
    return found, troubles, in_folders


def _say_again(store, root, candidates, in_folders):
    """Reads the captions of those files again whose captions alone have changed. Returns how many these are."""
    captioned, strangers, said = folders.Captioned(root), Remarks(), 0
    before = dict(store.rows("SELECT path, captions FROM files WHERE reason = ''"))
    by_folder = {}
    for path in candidates & before.keys():
        by_folder.setdefault(os.path.dirname(path), []).append(path)
    for folder in in_folders:
        for path in sorted(by_folder.get(folder, ())):
            if captioned.mark(path) != before[path]:
                store.say(path, *narrations_of(captioned, path))
                said += 1
        captioned.tell(folder, strangers)
    store.remark([(line.path, line.reason, line.detail) for line in strangers.lines])
    return said


def content_of(root, path):
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

    batch, kept, captioned = [], time.monotonic(), folders.Captioned(root)
    # Decoding and cutting go on beside the network: a file for each of the producers, in turn.
    producers = [_Producer(embedder, root, [path for path, _ in files[n::_PRODUCERS]]) for n in range(_PRODUCERS)]
    bar = tqdm(total=len(files), unit="file", file=sys.stderr, mininterval=1.0, disable=not progress)
    try:
        for number, (path, content) in enumerate(files):
            windows = []
            for some in producers[number % _PRODUCERS].windows():
                vectors = embedder.embed([inputs for _, inputs in some])
                windows += [window._replace(vectors=one) for (window, _), one in zip(some, vectors, strict=True)]
            kind, plays, why = producers[number % _PRODUCERS].outcome
            seconds = windows[-1].end if windows else 0.0
            mark, narrations, remarks = ("", (), ()) if why else narrations_of(captioned, path)
            batch.append(File(path, *found[path], content or "", seconds, why, plays, kind, windows, narrations,
                              mark, remarks))  # fmt: skip
            bar.update()
            if len(batch) == _FILES_AT_ONCE or time.monotonic() - kept > 5.0:
                store.put(batch)
                batch, kept = [], time.monotonic()
    finally:
        bar.close()
        for producer in producers:
            producer.stop()
        if batch:
            store.put(batch)


class _Producer(threading.Thread):
    """Decodes files, one after the other, and cuts them into what the networks take; a few windows are held at a time.

    However long a file is: of an hour of it the inputs would be gigabytes.
    """

    def __init__(self, embedder, root, files):
        super().__init__(daemon=True)
        self._embedder, self._root, self._files = embedder, root, files
        self._ready, self._stopping = queue.Queue(_CHUNKS), threading.Event()
        self.outcome = None  # of the file whose windows came: (kind, whether browsers play it, why not readable or '')
        self.start()

    def run(self):
        client = DecodeClient(self._embedder.decoding)
        try:
            for path in self._files:
                for one in _decoded(self._embedder, client, self._root, path):
                    self._put(one)
        except _Stopped:
            return
        except BaseException as error:  # a fault of ours: for whoever waits
            with contextlib.suppress(_Stopped):
                self._put(error)
        finally:
            client.close()

    def _put(self, one):
        while not self._stopping.is_set():
            try:
                self._ready.put(one, timeout=0.5)
                return
            except queue.Full:
                continue
        raise _Stopped

    def windows(self):
        """Yields lists of (Window, inputs) of the next file; after that `outcome` is that of the file."""
        while True:
            one = self._ready.get()
            if isinstance(one, BaseException):
                raise one
            if isinstance(one, tuple):
                self.outcome = one
                return
            yield one

    def stop(self):
        self._stopping.set()
        self.join(10)


class _Stopped(Exception):
    """Nobody waits for what comes."""


def _decoded(embedder, client, root, path):
    """Yields lists of (Window, inputs of the networks), at last (kind, whether browsers play it, why not or '')."""
    kind, plays = "video", False
    try:
        with source_files.opened(root, path, embedder.decoding.max_file_bytes) as found:
            kind, plays = playing.looked_at(found.file)
            some = []
            for piece, inputs in embedder.inputs(embedder.windows(client, found.file)):
                some.append((_window(piece), inputs))
                if len(some) == BATCH:
                    yield some
                    some = []
            if some:
                yield some
        yield kind, plays, ""
    except (source_files.Refused, Failure) as error:
        yield kind, False, f"{error.reason.value}: {error}"


def _window(piece):
    """A Window without its vectors."""
    dark = False
    if piece.jpegs:
        picture, dark = _strip(piece.jpegs)
    else:
        picture = _spectrogram(piece)
    silent = (
        piece.waveform is None
        or float(np.sqrt(np.mean(np.square(piece.waveform)) if len(piece.waveform) else 0)) < _SILENT
    )
    return Window(piece.start, piece.end, dark, silent, picture, {})


def _strip(jpegs):
    """(JPEG of some frames side by side, whether the window is dark or of one colour)."""
    import cv2

    from mmv_tf.pages import jpeg, pictures

    frames = []
    for number in np.linspace(0, len(jpegs) - 1, _FRAMES).round().astype(int):
        image = jpeg.decode(jpegs[number], least_width=_WIDTH)
        height = max(1, round(image.shape[0] * _WIDTH / image.shape[1]))
        frames.append(cv2.resize(image, (_WIDTH, min(height, 3 * _WIDTH)), interpolation=cv2.INTER_AREA))
    strip = np.concatenate(frames, axis=1)
    mean, spread = cv2.meanStdDev(cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY))
    return pictures.encoded(strip, 75), bool(mean[0, 0] < _DARK or spread[0, 0] < _FLAT)


def _spectrogram(piece):
    from mmv_tf.pages import pictures

    rate = len(piece.waveform) / max(piece.end - piece.start, 1e-6)
    return pictures.spectrogram(piece.waveform, rate, _WIDTH, 90)


def narrations_of(captioned: folders.Captioned, path: str) -> tuple[str, list[tuple], list[tuple]]:
    """(mark of the captions beside a file, their (start, end, text), (path, reason, detail) of remarks on them)."""
    remarks, mark = Remarks(), captioned.mark(path)  # the mark first: what changes meanwhile is read again
    said = [(caption.start, caption.end, caption.text) for caption in captioned.read(path, remarks)]
    return mark, said, [(line.path, line.reason, line.detail) for line in remarks.lines]
