"""AudioSet: segments of 10 s with the sounds in them (Gemmeke et al., ICASSP 2017)."""

from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.segments import Segment, inputs_of_segments

WHAT = (
    "a segments file of AudioSet (lines of the form: YTID, start_seconds, end_seconds, positive_labels), from "
    "https://research.google.com/audioset/download.html"
)
CLASSES = "class_labels_indices.csv (index,mid,display_name), from https://research.google.com/audioset/download.html"
COLUMNS = ("ytid", "start_seconds", "end_seconds", "positive_labels")
NAMES = {
    "train": ("unbalanced_train_segments.csv",),
    "balanced_train": ("balanced_train_segments.csv",),
    "eval": ("eval_segments.csv",),
}


def read(request):
    """Inputs of a split: train (the unbalanced one), balanced_train or eval.

    Raises:
      ValueError: a file is missing or of another kind; names it, and the line.
    """
    segments = files.locate(request.annotations, NAMES[request.split], WHAT)
    classes = request.classes or files.beside(segments, ["class_labels_indices.csv", "class_labels_indices.txt"])
    if classes is None:
        raise ValueError(f"{segments}: no class_labels_indices.csv beside it; name it with --classes: {CLASSES}")
    ids, names = _classes(classes)
    _check(segments)
    return inputs_of_segments(lambda: _segments(segments, names), request, files.by_id(ids, classes))


def _classes(path):
    """({index: display name}, {mid: display name})."""
    ids, names = {}, {}
    for where, row in files.rows(path, ("index", "mid", "display_name"), CLASSES):
        number = files.whole_number(row["index"], where)
        if number in ids or row["mid"] in names:
            raise ValueError(f"{where}: class {row['index']} or {row['mid'][:50]!r} for a second time")
        ids[number] = names[row["mid"]] = row["display_name"]
    return ids, names


def _segments(path, names):
    for where, row in files.rows(path, COLUMNS, WHAT, has_header=False, comment="#"):
        mids = [mid.strip() for mid in row["positive_labels"].split(",") if mid.strip()]
        if unknown := [mid for mid in mids if mid not in names]:
            raise ValueError(f"{where}: label {unknown[0][:50]!r} is none of the classes; expected {CLASSES}")
        try:
            times = files.span(row["start_seconds"], row["end_seconds"])
        except ValueError as error:
            yield where, row["ytid"], error
            continue
        yield Segment(where, row["ytid"], *times, tuple(names[mid] for mid in mids))


def _check(path):
    """Raises ValueError for a file of another kind: the first row tells."""
    for where, row in files.rows(path, COLUMNS, WHAT, has_header=False, comment="#"):
        try:
            files.span(row["start_seconds"], row["end_seconds"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}; expected {WHAT}") from None
        return
    raise ValueError(f"{path}: no segment in it; expected {WHAT}")
