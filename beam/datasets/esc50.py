"""ESC-50: sounds of 5 s in 50 classes and 5 folds (Piczak, ACM Multimedia 2015)."""

import pathlib

from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.entries import Entry, inputs_of
from mmv_tf.beam.specs import ClipSpec

WHAT = "meta/esc50.csv (filename,fold,target,category,esc10,src_file,take), from https://github.com/karolpiczak/ESC-50"
COLUMNS = ("filename", "fold", "target", "category")
SPLITS = tuple(f"fold{number}" for number in range(1, 6))


def read(request):
    """Inputs of one fold: the split fold1 to fold5. Ids are those of the column target."""
    path = files.locate(request.annotations, ["esc50.csv"], WHAT)
    labels = files.by_id(_classes(path), path)
    fold = request.split.removeprefix("fold")
    return inputs_of(lambda inputs, index: _entries(path, fold), request, labels)


def _classes(path):
    names = {}
    for where, row in files.rows(path, COLUMNS, WHAT):
        number = files.whole_number(row["target"], where)
        if names.setdefault(number, row["category"]) != row["category"]:
            raise ValueError(
                f"{where}: target {number} is {row['category'][:50]!r} here, {names[number][:50]!r} before"
            )
        if row["fold"] not in ("1", "2", "3", "4", "5"):
            raise ValueError(f"{where}: fold {row['fold'][:50]!r} is none of 1 to 5")
    return names


def _entries(path, fold):
    for where, row in files.rows(path, COLUMNS, WHAT):
        if row["fold"] == fold:
            yield Entry(where, pathlib.PurePosixPath(row["filename"]).stem, (ClipSpec(labels=(row["category"],)),))
