"""Kinetics-600: clips of 10 s with the human action in each (Carreira et al., arXiv 1808.01340)."""

from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.segments import Segment, inputs_of_segments

COLUMNS = ("youtube_id", "time_start", "time_end")
WHAT = (
    "a csv of Kinetics-600 (columns label,youtube_id,time_start,time_end,split), from "
    "https://github.com/cvdfoundation/kinetics-dataset"
)
_SPELLINGS = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}


def read(request):
    """Inputs of the split train, val or test."""
    path = files.locate(request.annotations, _patterns(request.split), WHAT)
    labels = _classes(request.classes) if request.classes else _labels({path, *_siblings(path)})
    _check_split(path, request.split)

    def segments():
        return _segments(path, request.split, set(labels))

    return inputs_of_segments(segments, request, labels)


def _patterns(split):
    return [f"{before}{name}.csv" for name in _SPELLINGS[split] for before in ("", "*_", "*-")]


def _siblings(path):
    """The files of all splits beside one: ids are by name over all of them, lest they depend on what a split lacks."""
    for split in _SPELLINGS:
        try:
            yield files.locate(path.parent, _patterns(split), WHAT)
        except ValueError:
            continue


def _rows(path):
    return files.rows(path, COLUMNS, WHAT, others=("label", "split"))


def _labels(paths):
    return tuple(sorted({label for path in paths for _, row in _rows(path) if (label := row["label"])}))


def _classes(path):
    return files.by_id({n: line.strip('"') for n, (_, line) in enumerate(files.lines(path))}, path)


def _check_split(path, split):
    found = {row["split"].lower() for _, row in _rows(path)}
    if not found & {"", *_SPELLINGS[split]}:
        raise ValueError(f"{path}: no row of the split {split}; it has {', '.join(sorted(found))[:200] or 'none'}")


def _segments(path, split, labels):
    for where, row in _rows(path):
        if row["split"].lower() not in ("", *_SPELLINGS[split]):
            continue
        if (label := row["label"]) and label not in labels:
            raise ValueError(f"{where}: label {label[:50]!r} is none of the --classes")
        try:
            times = files.span(row["time_start"], row["time_end"])
        except ValueError as error:
            yield where, row["youtube_id"], error
            continue
        yield Segment(where, row["youtube_id"], *times, (label,) if label else ())
