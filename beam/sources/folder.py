"""A folder of videos as Inputs: each file whole, with the captions that lie beside it."""

import os
import pathlib

from mmv_tf.beam.captions import cues
from mmv_tf.beam.captions.sidecars import OTHER_SUFFIXES, SUFFIXES, Sidecars
from mmv_tf.beam.remarks import shown
from mmv_tf.beam.sources.paths import Refused, check_root, confine, opened, rejection, unusable_name
from mmv_tf.beam.specs import ClipSpec, Inputs, Source
from mmv_tf.records.card import Reason, Remark

# Whatever the formats of decoding/av_source.py are called.
MEDIA_SUFFIXES = frozenset(
    ".mp4 .m4v .mp4v .f4v .mov .qt .3gp .3g2 .3gpp .mj2 .mkv .mk3d .webm .avi .divx .xvid .flv .f4p .ogv .ogg .ogm "
    ".ogx "
    ".mpg .mpeg .mpe .m1v .m2v .mpv .m2p .vob .ts .mts .m2ts .m2t .tod .wmv .asf .dvr-ms "
    ".wav .w64 .mp3 .mp2 .mpga .flac .m4a .m4b .m4r .f4a .aac .adts .opus .oga .spx .mka .weba .wma "
    ".aif .aiff .aifc .amr .dv .au .caf .mxf".split()
)

NOT_READ = "not a format that is read: make it .srt or .vtt"


def from_folder(root, captions_root=None, languages=(), with_captions=True):
    """Every video and sound file below a folder, each whole, with its narrations (captions/sidecars.py says which).

    The folder is walked while the sources are read. What a file is, and whether its link leads out of the root, is
    looked at where it is decoded.

    Args:
      root: folder.
      captions_root: folder with narrations in the same subfolders; what it lacks may be beside the videos.
      languages: of the narrations, the most wanted first; () for any.
      with_captions: False to pass over them.
    Raises:
      ValueError: a folder is missing, or root holds no such file.
    """
    if "://" in str(root):
        raise ValueError(f"--videos {root}: only a folder can be searched; list the files in a --manifest")
    check_root("--videos", root)
    if captions_root is not None:
        check_root("--captions", captions_root)
    root, inputs = pathlib.Path(root), Inputs(())
    suffixes = SUFFIXES if with_captions else ()
    captions_root = captions_root and pathlib.Path(captions_root)
    inputs.sources = _sources(root, captions_root, tuple(languages), inputs, suffixes)
    if next(media_files(root), None) is None:
        raise ValueError(
            f"--videos {root}: no video or sound file in it (looked for {' '.join(sorted(MEDIA_SUFFIXES))})"
        )
    return inputs


def _sources(root, captions_root, languages, inputs, caption_suffixes):
    def skipped(path, why):
        inputs.rejections.append(rejection(path, Reason.MISSING_FILE, why))

    looked_in = set()
    for folder, names in by_folder(root, skipped):
        videos = [name for name in names if _suffix(name) in MEDIA_SUFFIXES]
        sidecars = [name for name in names if _suffix(name) in caption_suffixes]
        places = [_Place(root, folder, sidecars, videos, "")]
        if captions_root is not None and captions_root / folder != root / folder:
            looked_in.add(folder)
            places.insert(0, _Place(captions_root, folder, _names(captions_root / folder), videos, "--captions "))
        for name in names:
            path = os.path.join(folder, name)
            if _suffix(name) in MEDIA_SUFFIXES:
                if why := unusable_name(path):
                    inputs.rejections.append(why)
                else:
                    yield Source(path, (ClipSpec(captions=_captions(places, name, languages, inputs.remarks)),))
            elif _suffix(name) in OTHER_SUFFIXES and caption_suffixes:
                inputs.remarks.add(Remark.UNUSED_CAPTIONS, NOT_READ, path=path)
            elif _suffix(name) not in SUFFIXES and _suffix(name) not in OTHER_SUFFIXES:
                what = f"{_suffix(name) or 'no suffix'}: neither video, sound nor narration"
                inputs.remarks.add(Remark.IGNORED_FILE, what, path=path)
        for place in places:
            # Where the folder with captions lies among the videos, its files are looked for once.
            if place is places[0] or captions_root not in (root / folder, *(root / folder).parents):
                place.tell(inputs.remarks)
    if captions_root is not None:
        for folder, names in by_folder(captions_root, skipped):
            if folder not in looked_in:
                _Place(captions_root, folder, names, (), "--captions ").tell(inputs.remarks)


class _Place:
    """The captions of one folder.

    Args:
      root, folder: the folder is below this root, and no link in it leads out of it.
      names: of its files.
      videos: of the files that the captions may belong to.
      prefix: before a path in remarks.
    """

    def __init__(self, root, folder, names, videos, prefix):
        self._root, self._folder, self._prefix = root, folder, prefix
        self.sidecars = Sidecars(names, videos)

    def path(self, name):
        return os.path.join(self._folder, name)

    def shown(self, name):
        return self._prefix + self.path(name)

    def read(self, name, remarks):
        """The captions of a file, and why there are none, or None."""
        try:
            found = tuple(cues.read(opened(self._root, self.path(name)), remarks, self.shown(name)))
        except Refused as error:
            return (), str(error)
        except OSError as error:
            return (), f"cannot be read: {error.strerror}"
        return found, None if found else "no caption in it"

    def tell(self, remarks):
        """Names the files that belong to no video."""
        for name in self.sidecars.strangers:
            remarks.add(Remark.UNUSED_CAPTIONS, "no video or sound of this name", path=self.shown(name))


def _captions(places, video, languages, remarks):
    """The captions of a video: those of the first file with any; the other files get a remark."""
    found, used = (), None
    for place in places:
        candidates, unwanted = place.sidecars.of(video, languages)
        for sidecar in candidates:
            if used:
                why = f"{used} is taken for {video}"
            else:
                found, why = place.read(sidecar.name, remarks)
                used = None if why else place.shown(sidecar.name)
            if why:
                remarks.add(Remark.UNUSED_CAPTIONS, why, path=place.shown(sidecar.name))
        for sidecar in unwanted:
            why = f"in {sidecar.languages[-1]!r}, which --caption_languages does not name"
            remarks.add(Remark.UNUSED_CAPTIONS, why, path=place.shown(sidecar.name))
    return found


class Captioned:
    """The captions beside the videos of a folder, asked for one by one.

    The names of one folder are held at a time: videos are asked for folder by folder.
    """

    def __init__(self, root):
        self._root, self._folder, self._place, self._names = root, None, None, ()

    def _at(self, path):
        """(_Place, name) of a video, whose path is relative to the root."""
        folder, name = os.path.split(path)
        if folder != self._folder:
            self._names = _names(os.path.join(self._root, folder))
            videos = [one for one in self._names if _suffix(one) in MEDIA_SUFFIXES]
            self._folder, self._place = folder, _Place(self._root, folder, self._names, videos, "")
        return self._place, name

    def read(self, path, remarks):
        """The captions of a video: those of the first file beside it with any; the other files get a remark."""
        place, name = self._at(path)
        return _captions([place], name, (), remarks)

    def has(self, path) -> bool:
        """Whether a file of captions lies beside a video, of which no link leads out of the root."""
        place, name = self._at(path)
        return any(confine(self._root, place.path(one.name))[0] for one in place.sidecars.of(name)[0])

    def mark(self, path) -> str:
        """What changes when the captions of a video do: the names, sizes and times of the files beside it; '' for
        none."""
        place, name = self._at(path)
        marks = []
        for one in place.sidecars.of(name)[0]:
            try:
                status = os.stat(os.path.join(self._root, place.path(one.name)))
            except OSError as error:
                marks.append(f"{shown(one.name)} {error.strerror}")
            else:
                marks.append(f"{shown(one.name)} {status.st_size} {status.st_mtime_ns}")
        return "\n".join(marks)

    def tell(self, folder, remarks):
        """Names the files of captions in a folder, relative to the root, that belong to no video or are not read."""
        place, _ = self._at(os.path.join(folder, ""))
        place.tell(remarks)
        for name in self._names:
            if _suffix(name) in OTHER_SUFFIXES:
                remarks.add(Remark.UNUSED_CAPTIONS, NOT_READ, path=place.path(name))


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []  # there need not be one


def is_media(name) -> bool:
    """Whether a file is called as videos and sounds are."""
    return _suffix(name) in MEDIA_SUFFIXES


def _suffix(name):
    return os.path.splitext(name)[1].lower()


def by_folder(root, skipped=lambda path, why: None):
    """Yields (folder, names of its files) of a folder and all below it, relative, with forward slashes, in one order.

    Args:
      skipped: function that is told the path of a folder that is not entered, and why: a link, or not readable.
    """

    def below(*path):
        return os.path.relpath(os.path.join(*path), root).replace(os.sep, "/")

    def unreadable(error):
        skipped(below(error.filename), f"the folder cannot be read: {error.strerror}")

    for folder, subfolders, names in os.walk(root, onerror=unreadable):
        subfolders.sort()
        for name in subfolders:
            if os.path.islink(os.path.join(folder, name)):
                skipped(below(folder, name), "a link to a folder is not followed")
        yield ("" if folder == os.fspath(root) else below(folder)), sorted(names)


def files_below(root):
    """Yields the paths of all files below a folder, relative to it, with forward slashes, always in one order."""
    for folder, names in by_folder(root):
        yield from (os.path.join(folder, name) for name in names)


def media_files(root, suffixes=MEDIA_SUFFIXES):
    """Those of files_below() that have one of the suffixes."""
    return (path for path in files_below(root) if _suffix(path) in suffixes)
