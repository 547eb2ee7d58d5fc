"""The ways in: a folder of videos, or a manifest; both give sources and rejections."""

import csv
import json
import math
import os
import pathlib

from mmv_tf.beam import captions as captions_lib
from mmv_tf.beam.specs import ClipSpec, Inputs, Reason, Rejection, Source
from mmv_tf.records import Caption

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


def from_folder(root):
    """Every video and sound file below a folder, each whole; x.srt or x.vtt beside x.mp4 are its narrations.

    Raises:
      ValueError: the folder is missing or holds no such file.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise ValueError(f"--videos {root}: not a folder")
    inputs = Inputs([])
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            file = pathlib.Path(folder, name)
            if file.suffix.lower() not in MEDIA_SUFFIXES:
                inputs.ignored_files += file.suffix.lower() not in captions_lib.SUFFIXES
                continue
            path = file.relative_to(root).as_posix()
            if rejection := _unusable(root, path):
                inputs.rejections.append(rejection)
                continue
            sidecar = captions_lib.beside(file)
            captions = tuple(captions_lib.read(sidecar, inputs.counts)) if sidecar else ()
            inputs.sources.append(Source(path, (ClipSpec(captions=captions),)))
    if not inputs.sources and not inputs.rejections:
        raise ValueError(
            f"--videos {root}: no video or sound file in it (looked for {' '.join(sorted(MEDIA_SUFFIXES))})"
        )
    inputs.sources.sort()
    return inputs


def from_manifest(manifest, video_root):
    """The rows of a .csv (with a header) or .jsonl file, in the columns of DMVR's converter.

    video_path (relative to video_root), start and end (seconds; empty: the whole source, cut into pieces), caption,
    label. In .jsonl, `captions` may hold a list of {text, start, end} (seconds from the start of the source), and
    `label` a text or a list. Rows of the same path and span are one clip, with the captions and labels of all.

    Raises:
      ValueError: no such file or folder, a missing or unknown column, an unknown kind of file; one line that names it.
    """
    manifest, root = pathlib.Path(manifest), pathlib.Path(video_root)
    if not root.is_dir():
        raise ValueError(f"--video_root {root}: not a folder")
    if not manifest.is_file():
        raise ValueError(f"--manifest {manifest}: no such file")
    inputs = Inputs([])
    clips = {}  # path -> {(start, end): ClipSpec}
    usable = {}  # path -> Rejection or None
    for where, row in _rows(manifest):
        try:
            path, clip = _parse_row(row, inputs.counts)
        except ValueError as error:
            shown = str(row.get("video_path") or "") if isinstance(row, dict) else ""
            inputs.rejections.append(_rejection(shown, "", Reason.BAD_ROW, f"{where}: {error}"))
            continue
        if path not in usable:
            usable[path] = _unusable(root, path)
        if usable[path]:
            inputs.rejections.append(usable[path]._replace(detail=f"{where}: {usable[path].detail}"))
            continue
        path = os.path.relpath(os.path.join(root, path), root).replace(os.sep, "/")  # one name for ./a and a
        of_path = clips.setdefault(path, {})
        if earlier := of_path.get(clip[:2]):
            inputs.joined_rows += 1
            clip = clip._replace(
                captions=tuple(dict.fromkeys(earlier.captions + clip.captions)),
                labels=tuple(dict.fromkeys(earlier.labels + clip.labels)),
            )
        of_path[clip[:2]] = clip
    inputs.sources = [
        Source(path, tuple(sorted((_in_order(clip) for clip in of_path.values()), key=_span)))
        for path, of_path in sorted(clips.items())
    ]
    if not inputs.sources and not inputs.rejections:
        raise ValueError(f"--manifest {manifest}: no row in it")
    return inputs


def _span(clip):
    return clip.start, math.inf if clip.end is None else clip.end


def _in_order(clip):
    """Captions and labels in an order that does not depend on that of the rows."""
    captions = sorted(clip.captions, key=lambda c: (-1 if c.start is None else c.start, c.end or 0, c.text))
    return clip._replace(captions=tuple(captions), labels=tuple(sorted(clip.labels)))


def _rejection(path, key, reason, detail):
    return Rejection(path.encode("utf-8", "replace").decode(), key, reason.value, detail)


def _unusable(root, path):
    """Rejection of a path that cannot be a source, or None."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return _rejection(path, "", Reason.BAD_ROW, "the name of the file is not valid UTF-8: rename it")
    _, why = confine(root, path)
    return _rejection(path, "", *why) if why else None


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
