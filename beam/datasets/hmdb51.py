"""HMDB51: one action a video, three ways to split it (Kuehne et al., ICCV 2011)."""

import pathlib
import re

from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.entries import Entry, inputs_of
from mmv_tf.beam.specs import ClipSpec

WHAT = (
    "the folder testTrainMulti_7030_splits (brush_hair_test_split1.txt and so on), from "
    "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/"
)
_USED_FOR = {"0": "neither", "1": "train", "2": "test"}


def read(request):
    """Inputs of the split train or test of a fold 1 to 3 (1 when none is given). Ids are by the name of the class.

    Raises:
      ValueError: there is no list of that fold; says where lists come from.
    """
    fold = request.fold or 1
    given = pathlib.Path(request.annotations)
    folder = given.parent if given.is_file() else given
    if given.is_file() and not re.fullmatch(rf".+_test_split{fold}\.txt", given.name):
        raise ValueError(f"--annotations {given}: no file of fold {fold}; give the folder; expected {WHAT}")
    lists = {path.name.rpartition("_test_split")[0]: path for path in _lists(folder, fold)}
    if not lists:
        raise ValueError(f"--annotations {given}: no *_test_split{fold}.txt in it; expected {WHAT}")
    return inputs_of(lambda inputs, index: _entries(lists, request.split), request, tuple(sorted(lists)))


def _lists(folder, fold):
    found = sorted(pathlib.Path(folder).rglob(f"*_test_split{fold}.txt"))
    return [path for path in found if not path.name.startswith(".")]


def _entries(lists, split):
    """Of lines 'April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1': 1 is train, 2 is test, 0 is neither."""
    for label, path in sorted(lists.items()):
        for where, line in files.lines(path):
            video, _, mark = line.replace("\t", " ").rpartition(" ")
            if mark not in _USED_FOR or not video.strip():
                raise ValueError(f"{where}: expected the name of a video and 0, 1 or 2, not {line[:80]!r}")
            if _USED_FOR[mark] == split:
                stem = pathlib.PurePosixPath(video.strip()).stem
                yield Entry(where, stem, (ClipSpec(labels=(label,)),), label)
