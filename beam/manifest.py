"""The general ways in: a folder of videos, or a manifest. Both give Inputs, as those of beam/datasets/ do."""

import csv
import json
import math
import os
import pathlib

from mmv_tf.beam import captions as captions_lib
from mmv_tf.beam.decoding import image_worker
from mmv_tf.beam.specs import ClipSpec, Inputs, Rejection, Source
from mmv_tf.records.card import Reason
from mmv_tf.records.schema import Caption

csv.field_size_limit(16 << 20)  # the default of 128 KiB makes one long caption end the reading

COLUMNS = ("video_path", "start", "end", "caption", "label")

MEDIA_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .3gp .3g2 .mkv .webm .avi .flv .ogv .ogg .mpg .mpeg .mpe .vob .ts .mts .m2ts .wmv .asf "
    ".wav .mp3 .flac .m4a .aac .opus .oga .mka".split()
)


def confine(root, path):
    """The real path of a file given relative to root.

    Returns:
      (absolute path, None) or (None, (Reason, detail)).
    """
    root = os.path.realpath(root)
    if "\0" in path:
        return None, (Reason.BAD_ROW, "NUL in the path")
    real = os.path.realpath(os.path.join(root, path))
    if os.path.commonpath([root, real]) != root:
        return None, (Reason.OUTSIDE_ROOT, "the path leads out of the root")
    if not os.path.isfile(real):
        return None, (Reason.MISSING_FILE, "no such file" if not os.path.exists(real) else "not a regular file")
    return real, None


def check_root(option, root):
    """Raises ValueError, which names the option, when root is no folder. A URL is for the workers to find."""
    if "://" not in str(root) and not os.path.isdir(root):
        raise ValueError(f"{option} {root}: not a folder")


def from_folder(root, captions_root=None):
    """Every video and sound file below a folder, each whole; x.srt or x.vtt beside x.mp4 are its narrations.

    The folder is walked while the sources are read. What a file is, and whether its link leads out of the root, is
    looked at where it is decoded.

    Args:
      root: folder.
      captions_root: folder with narrations in the same subfolders; what it lacks may be beside the videos.
    Raises:
      ValueError: a folder is missing, or root holds no such file.
    """
    if "://" in str(root):
        raise ValueError(f"--videos {root}: only a folder can be searched; list the files in a --manifest")
    check_root("--videos", root)
    if captions_root is not None:
        check_root("--captions", captions_root)
    root, inputs = pathlib.Path(root), Inputs(())
    places = [pathlib.Path(captions_root), root] if captions_root else [root]
    inputs.sources = _sources_of_folder(root, places, inputs)
    if next(media_files(root), None) is None:
        raise ValueError(
            f"--videos {root}: no video or sound file in it (looked for {' '.join(sorted(MEDIA_SUFFIXES))})"
        )
    return inputs


def _sources_of_folder(root, places, inputs):
    def skipped(path, why):
        inputs.rejections.append(rejection(path, Reason.MISSING_FILE, why))

    for path in files_below(root, skipped):
        suffix = pathlib.PurePath(path).suffix.lower()
        if suffix not in MEDIA_SUFFIXES:
            inputs.ignored_files += suffix not in captions_lib.SUFFIXES
        elif why := unusable_name(path):
            inputs.rejections.append(why)
        else:
            sidecar = next((file for place in places if (file := _sidecar(place, path))), None)
            captions = ()
            if sidecar:
                try:
                    captions = tuple(captions_lib.read(sidecar, inputs.counts))
                except OSError as error:
                    skipped(path, f"its narrations {sidecar.name}, not the video: {error.strerror}")
            yield Source(path, (ClipSpec(captions=captions),))


def _sidecar(folder, path):
    """The narrations of a video in a folder, or None; no link, at which folder ever, leads out of it."""
    file = captions_lib.beside(folder / path)
    return file if file and confine(folder, os.path.relpath(file, folder))[0] else None


def files_below(root, skipped=lambda path, why: None):
    """Yields the paths of all files below a folder, relative to it, with forward slashes, always in one order.

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
        yield from (below(folder, name) for name in sorted(names))


def media_files(root, suffixes=MEDIA_SUFFIXES):
    """Those of files_below() that have one of the suffixes."""
    return (path for path in files_below(root) if os.path.splitext(path)[1].lower() in suffixes)


def from_manifest(manifest, video_root):
    """The rows of a .csv (with a header) or .jsonl file, in the columns of DMVR's converter.

    video_path (relative to video_root; also of a picture), start and end (seconds; empty: the whole source, cut into
    pieces), caption, label. In .jsonl, `captions` may hold a list of {text, start, end} (seconds from the start of the
    source), and `label` a text or a list. Rows of the same path and span are one clip, with the captions and labels of
    all.

    Rows of one path may stand anywhere, so the whole manifest is held in memory, about 1 KB a row.

    Raises:
      ValueError: no such file or folder, a missing or unknown column, an unknown kind of file; one line that names it.
    """
    manifest = pathlib.Path(manifest)
    check_root("--video_root", video_root)
    if not manifest.is_file():
        raise ValueError(f"--manifest {manifest}: no such file")
    inputs = Inputs([])
    clips = {}  # path -> its ClipSpecs
    for where, row in _rows(manifest):
        shown = str(row.get("video_path") or "") if isinstance(row, dict) else ""
        try:
            path, clip = _parse_row(row, inputs.counts)
        except ValueError as error:
            inputs.rejections.append(rejection(shown, Reason.BAD_ROW, f"{where}: {error}"))
            continue
        path, why = inside(video_root, path)
        if not why and _kind(path) == "image" and clip[:2] != (0.0, None):
            why = Reason.BAD_ROW, "a picture has no start and end"
        if why:
            inputs.rejections.append(rejection(shown, why[0], f"{where}: {why[1]}"))
        else:
            clips.setdefault(path, []).append(clip)
    inputs.sources = [source(path, of_path, inputs, _kind(path)) for path, of_path in sorted(clips.items())]
    if not inputs.sources and not inputs.rejections:
        raise ValueError(f"--manifest {manifest}: no row in it")
    return inputs


def _kind(path):
    return "image" if os.path.splitext(path)[1].lower() in image_worker.SUFFIXES else "video"


def inside(root, path):
    """The one name of a path relative to root (./a is a), judged by the name alone, without a look at the disk.

    Returns:
      (path, None) or (None, (Reason, detail)).
    """
    if "\0" in path:
        return None, (Reason.BAD_ROW, "NUL in the path")
    if why := unusable_name(path):
        return None, (Reason.BAD_ROW, why.detail)
    # As if a root in a bucket were a folder.
    root = os.path.abspath("/" + str(root).replace("://", "/") if "://" in str(root) else root)
    path = os.path.relpath(os.path.join(root, path), root)
    if path.split(os.sep)[0] in (os.pardir, os.curdir):
        return None, (Reason.OUTSIDE_ROOT, "the path leads out of the root")
    return path.replace(os.sep, "/"), None


def source(path, clips, inputs, kind="video"):
    """A Source of the clips wanted from a file; those of one span become one, and the order is that of time."""
    merged = {}
    for clip in clips:
        if earlier := merged.get(clip[:2]):
            inputs.joined_rows += 1
            clip = earlier._replace(captions=earlier.captions + clip.captions, labels=earlier.labels + clip.labels)
        merged[clip[:2]] = clip
    return Source(path, tuple(sorted((_in_order(clip) for clip in merged.values()), key=_span)), kind)


def _span(clip):
    return clip.start, math.inf if clip.end is None else clip.end


def _in_order(clip):
    """Captions and labels, each once, in an order that does not depend on that of the rows."""
    captions = sorted(set(clip.captions), key=lambda c: (-1 if c.start is None else c.start, c.end or 0, c.text))
    return clip._replace(captions=tuple(captions), labels=tuple(sorted(set(clip.labels))))


def rejection(path, reason, detail):
    """A Rejection of a row or a source; the path may be anything that stood in a file."""
    path, detail = (text[:1000].encode("utf-8", "replace").decode() for text in (path, detail))
    return Rejection(path, "", reason.value, detail)


def unusable_name(path):
    """Rejection of a path that no record can hold, or None."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return rejection(path, Reason.BAD_ROW, "the name of the file is not valid UTF-8: rename it")
    return None


def _rows(manifest):
    """(where, row) for each row: a dict, or whatever a line of JSON holds, or an Exception's text."""
    # A byte that is not UTF-8 may stand in a caption; in a path it leads to missing_file.
    with manifest.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        if manifest.suffix.lower() == ".csv":
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS[:3] if name not in (reader.fieldnames or ())]:
                raise ValueError(
                    f"--manifest {manifest}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}, "
                    "of which caption and label may be left out"
                )
            if unknown := sorted(set(reader.fieldnames) - set(COLUMNS)):
                raise ValueError(
                    f"--manifest {manifest}: unknown column {', '.join(unknown)}; expected {', '.join(COLUMNS)}"
                )
            try:
                yield from ((f"line {reader.line_num}", row) for row in reader)
            except csv.Error as error:
                raise ValueError(f"--manifest {manifest}: line {reader.line_num}: {error}") from None
        elif manifest.suffix.lower() in (".jsonl", ".ndjson"):
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield f"line {number}", json.loads(line)
                    except (ValueError, RecursionError) as error:
                        yield f"line {number}", f"not valid JSON: {error}"
        else:
            raise ValueError(f"--manifest {manifest}: expected a file that ends in .csv or .jsonl")


def _parse_row(row, counts):
    """(path, ClipSpec) of a row; ValueError says what is wrong with it."""
    if isinstance(row, str):
        raise ValueError(row)
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    if None in row:
        raise ValueError("more fields than columns")
    path = row.get("video_path")
    if not isinstance(path, str) or not path.strip():
        raise ValueError("no video_path")
    start, end = _number(row, "start"), _number(row, "end")
    start = start or 0.0
    if end is not None and end <= start:
        raise ValueError(f"end {end:g} is not after start {start:g}")
    captions = [(row.get("caption"), None, None)]
    for caption in row.get("captions") or ():
        if isinstance(caption, str):
            captions.append((caption, None, None))
        elif isinstance(caption, dict):
            times = _number(caption, "start"), _number(caption, "end")
            if (times[0] is None) != (times[1] is None) or times[0] is not None and times[1] < times[0]:
                raise ValueError("a caption needs both start and end, or neither, and end >= start")
            captions.append((caption.get("text"), *times))
        else:
            raise ValueError("captions must be a list of texts or of {text, start, end}")
    texts = [(captions_lib.clean(text, counts), *times) for text, *times in captions if isinstance(text, str)]
    labels = row.get("label") or ()
    labels = [labels] if isinstance(labels, (str, int)) else labels
    if not isinstance(labels, (list, tuple)) or not all(isinstance(label, (str, int)) for label in labels):
        raise ValueError("label must be a text or a list of texts")
    labels = (captions_lib.clean(str(label), counts) for label in labels)
    return path.strip(), ClipSpec(
        start,
        end,
        tuple(Caption(*caption) for caption in texts if caption[0]),
        tuple(label for label in dict.fromkeys(labels) if label),
    )


def _number(row, name):
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} {value!r} is not a number") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{name} {value!r} is not a time in seconds")
    return round(number, 6)
