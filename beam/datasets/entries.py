"""From what an annotation file says about videos to Inputs: finding the files, and one source a file."""

import os
from collections.abc import Callable
from typing import NamedTuple

from mmv_tf.beam.decoding import image_worker
from mmv_tf.beam.sources.folder import MEDIA_SUFFIXES, media_files
from mmv_tf.beam.sources.manifest import source
from mmv_tf.beam.sources.paths import check_root, rejection
from mmv_tf.beam.specs import ClipSpec, Inputs, Settings
from mmv_tf.records.card import Reason

_PICTURES_FIRST = {suffix: rank for rank, suffix in enumerate((".mp4", ".webm", ".mkv", ".avi"))}
_SOUND = frozenset(".wav .mp3 .flac .m4a .aac .opus .oga .ogg .mka".split())


class Request(NamedTuple):
    """What a dataset is asked for: the options of the command that say what to read."""

    root: str  # folder with the videos, sounds or pictures
    annotations: str  # file or folder
    split: str
    settings: Settings = Settings()
    fold: int | None = None
    files: str | None = None  # 'whole' or 'cut': what a file named by nothing but its id is
    classes: str | None = None  # file with the names of the classes
    ids: str | None = None  # file with the ids to take
    min_clip_seconds: float = 5.0


class Entry(NamedTuple):
    """What an annotation file, or a line of it, wants from a file."""

    where: str  # file and line, for messages
    stem: str  # name of the file, without the suffix
    clips: tuple[ClipSpec, ...]
    folder: str = ""  # in which the file lies: the name of a class, if the files lie in folders of classes
    is_unique: bool = False  # whether the name alone tells the file, so that `folder` is but preferred


class FileIndex:
    """The files below a folder, by their name without the suffix. About 200 bytes a file.

    Of several files with one name, videos come before sound (.mp4, .webm, .mkv, .avi, others), then the first path.

    Raises:
    Args:
      root: folder.
      suffixes: of the files that count.
      classes: names of folders that may stand for a class.
    Raises:
      ValueError: no folder, or no such file in it.
    """

    def __init__(self, root, suffixes=MEDIA_SUFFIXES, classes=()):
        if "://" in str(root):
            raise ValueError(f"--videos {root}: the files of a dataset are looked for in a folder of this machine")
        check_root("--videos", root)
        self._paths = {}
        for path in media_files(root, suffixes):
            self._paths.setdefault(_stem(path), []).append(path)
        if not self._paths:
            raise ValueError(f"--videos {root}: no such file in it (looked for {' '.join(sorted(suffixes))})")

        self._folders = {_folder(path) for paths in self._paths.values() for path in paths}
        self._classes = frozenset(classes)

    def find(self, stem, folder="", is_unique=False):
        """Path relative to the root, or None; of several files, rather one in a folder of this name.

        Unless the name is unique, a file elsewhere is another one if there is such a folder, or if it lies in that of
        another class.
        """
        found = self._paths.get(stem, ())
        inside = [path for path in found if folder and _folder(path) == folder]
        if folder and not inside and not is_unique:
            elsewhere = () if folder in self._folders else found
            found = [path for path in elsewhere if _folder(path) not in self._classes]
        return min(inside or found, key=_preference, default=None)

    def of(self, entry: Entry):
        """`find` for an entry."""
        return self.find(entry.stem, entry.folder, entry.is_unique)


def _folder(path):
    return os.path.basename(os.path.dirname(path))


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def _preference(path):
    suffix = os.path.splitext(path)[1].lower()
    return suffix in _SOUND, _PICTURES_FIRST.get(suffix, len(_PICTURES_FIRST)), path


def inputs_of(entries: Callable, request: Request, labels=(), kind="video") -> Inputs:
    """Inputs with one source a file, read twice from `entries`: once to check it all, once to stream it.

    Held in memory are the names of the files, and the clips of those files that have several.

    Args:
      entries: function of an Inputs (for its remarks) and the FileIndex, gives a new iterator of Entry and Rejection.
      labels: in the order of their ids.
      kind: of the sources, 'video' or 'image'.
    Raises:
      ValueError: as FileIndex or `entries` do, or nothing comes from them.
    """
    suffixes = image_worker.SUFFIXES if kind == "image" else MEDIA_SUFFIXES
    index = FileIndex(request.root, suffixes, labels)
    some, seen, again = False, set(), set()
    for entry in entries(Inputs(()), index):
        some = True
        if isinstance(entry, Entry):
            path = index.of(entry)
            (again if path in seen else seen).add(path)
    if not some:
        raise ValueError(f"--annotations {request.annotations}: nothing of the split {request.split} in it")
    inputs = Inputs((), labels=tuple(labels))
    inputs.sources = _sources(entries, index, again, inputs, kind)
    return inputs


def _sources(entries, index, again, inputs, kind):
    several = {}
    for entry in entries(inputs, index):
        if not isinstance(entry, Entry):
            inputs.rejections.append(entry)
            continue
        path = index.of(entry)
        if path is None:
            inputs.rejections.append(missing(entry.stem, entry.where))
        elif path in again:
            several.setdefault(path, []).extend(entry.clips)
        else:
            yield source(path, entry.clips, inputs, kind)
    for path, clips in sorted(several.items()):
        yield source(path, clips, inputs, kind)


def missing(name, where):
    """Rejection of a video that an annotation file names and that is not in the folder."""
    return rejection(name, Reason.MISSING_FILE, f"{where}: no file of this name")


def bad_row(name, where, error):
    """Rejection of a row that cannot be used."""
    return rejection(name, Reason.BAD_ROW, f"{where}: {error}")
