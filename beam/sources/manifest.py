"""A table of clips as Inputs: a .csv or .jsonl file with one clip a row."""

import json
import math
import os
import pathlib

from mmv_tf.beam.captions.speech import clean, one_line
from mmv_tf.beam.decoding import image_worker
from mmv_tf.beam.sources import tables
from mmv_tf.beam.sources.paths import check_root, inside, rejection
from mmv_tf.beam.specs import ClipSpec, Inputs, Source, joined
from mmv_tf.records.card import Reason, Remark
from mmv_tf.records.schema import MAX_SECONDS, Caption

COLUMNS = ("video_path", "start", "end")
OTHERS = ("caption", "label")
KEYS = (*COLUMNS, *OTHERS, "captions")  # of a row in .jsonl
MAX_LINE = 64 << 20  # characters of a row in .jsonl


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
    for where, row in _rows(manifest, inputs.remarks):
        inputs.rows += 1
        path = row.get("video_path") if isinstance(row, dict) else ""
        shown = path if isinstance(path, str) else ""
        try:
            with inputs.remarks.within(shown, where):
                path, clip = _parse_row(row, inputs.remarks)
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


def source(path, clips, inputs, kind="video"):
    """A Source of the clips wanted from a file; those of one span become one, and the order is that of time."""
    of_span = {}
    for clip in clips:
        if clip[:2] in of_span:
            inputs.remarks.add(Remark.ROW_JOINED, f"the clip from {clip.start:g} s", path=path)
        of_span.setdefault(clip[:2], []).append(clip)
    return Source(path, tuple(sorted(map(joined, of_span.values()), key=_span)), kind)


def _span(clip):
    return clip.start, math.inf if clip.end is None else clip.end


def _rows(manifest, remarks):
    """(where, row) for each row: a dict, or whatever a line of JSON holds; a text says why it is none."""
    suffix = manifest.suffix.lower()
    if suffix in (".csv", ".tsv"):
        try:
            yield from tables.rows(manifest, COLUMNS, OTHERS, remarks)
        except ValueError as error:
            raise ValueError(f"--manifest {error}") from None
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_rows(manifest, remarks)
    else:
        raise ValueError(f"--manifest {manifest}: expected a file that ends in .csv, .tsv or .jsonl")


def _json_rows(manifest, remarks):
    number = 0
    with tables.open_text(manifest, remarks) as file:
        while line := file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise ValueError(f"--manifest {manifest}: line {number}: over {MAX_LINE} characters")
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line, object_pairs_hook=tables.unique_keys)
                except (ValueError, RecursionError) as error:
                    yield f"line {number}", f"not valid JSON: {error}"


def _parse_row(row, remarks):
    """(path, ClipSpec) of a row; ValueError says what is wrong with it."""
    if isinstance(row, str):
        raise ValueError(row)
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    _check_keys(row, KEYS, "a row")
    path = row.get("video_path")
    if not isinstance(path, str) or not path.strip():
        raise ValueError("no video_path")
    start, end = _number(row, "start") or 0.0, _number(row, "end")
    if end is not None and end <= start:
        raise ValueError(f"end {end:g} is not after start {start:g}")
    captions = [] if row.get("caption") in (None, "") else [Caption(_text(row, "caption"), None, None)]
    captions += _timed(row.get("captions"))
    texts = []
    for text, *times in captions:
        if text := clean(text, remarks):
            texts.append(Caption(text, *times))
        else:
            remarks.add(Remark.CAPTION_DROPPED, "no words")
    labels = dict.fromkeys(label for one in _labels(row.get("label")) if (label := one_line(str(one), remarks)))
    return path, ClipSpec(start, end, tuple(texts), tuple(labels))


def _check_keys(row, known, what):
    if unknown := [name for name in row if name not in known]:
        raise ValueError(f"unknown key {unknown[0][:50]!r}; {what} has {', '.join(known)}")


def _text(row, name):
    if not isinstance(row.get(name), str):
        raise ValueError(f"{name} must be a text, not {_shown(row.get(name))}")
    return row[name]


def _timed(captions):
    """list of Caption, as they stand in `captions`: a list of texts or of {text, start, end}."""
    if captions is None:
        return []
    if not isinstance(captions, list):
        raise ValueError(f"captions must be a list of texts or of {{text, start, end}}, not {_shown(captions)}")
    found = []
    for caption in captions:
        if isinstance(caption, str):
            found.append(Caption(caption, None, None))
        elif isinstance(caption, dict):
            _check_keys(caption, ("text", "start", "end"), "one of captions")
            start, end = _number(caption, "start"), _number(caption, "end")
            if (start is None) != (end is None) or start is not None and end < start:
                raise ValueError("a caption needs both start and end, or neither, and end >= start")
            found.append(Caption(_text(caption, "text"), start, end))
        else:
            raise ValueError(f"captions must be a list of texts or of {{text, start, end}}, not of {_shown(caption)}")
    return found


def _labels(labels):
    labels = [] if labels in (None, "") else labels if isinstance(labels, list) else [labels]
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, (str, int)):
            raise ValueError(f"label must be a text or a list of texts, not {_shown(label)}")
    return labels


def _shown(value):
    return json.dumps(value)[:50]


def _number(row, name):
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, (bool, list, dict)) or "_" in str(value):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} {_shown(value)} is not a number") from None
    if not math.isfinite(number) or not 0 <= number <= MAX_SECONDS:
        raise ValueError(f"{name} {_shown(value)} is not a time in seconds")
    return round(number, 6)
