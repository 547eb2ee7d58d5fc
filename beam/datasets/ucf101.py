"""UCF101: one action a video, three ways to split it (Soomro et al., arXiv 1212.0402)."""

import os
import pathlib
import re

from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.entries import Entry, inputs_of
from mmv_tf.beam.specs import ClipSpec

WHAT = (
    "the folder ucfTrainTestlist (trainlist01.txt, testlist01.txt, classInd.txt), from "
    "https://www.crcv.ucf.edu/data/UCF101.php"
)


def read(request):
    """Inputs of the split train or test of a fold 1 to 3 (1 when none is given).

    Raises:
      ValueError: a list is missing, of another split or fold, or of another kind; names it, and the line.
    """
    name = f"{request.split}list{request.fold or 1:02d}.txt"
    listed = files.locate(request.annotations, [name], WHAT)
    if listed.name != name and re.fullmatch(r"(train|test)list\d\d\.txt|classInd\.txt", listed.name):
        raise ValueError(f"--annotations {listed}: it is not {name}, which --split and --fold mean; give its folder")
    classes = request.classes or files.beside(listed, ["classInd.txt"])
    if classes is None:
        raise ValueError(f"{listed}: no classInd.txt beside it; name it with --classes; expected {WHAT}")
    ids = _classes(classes)
    labels = files.by_id({number: label for label, number in ids.items()}, classes)
    return inputs_of(lambda inputs, index: _entries(listed, ids, index), request, labels)


def _classes(path):
    """{class: id from 0} of lines '1 ApplyEyeMakeup'."""
    ids, numbers = {}, set()
    for where, line in files.lines(path):
        number, _, label = line.partition(" ")
        if not label.strip() or label.strip() in ids or number in numbers:
            raise ValueError(f"{where}: {line[:50]!r} is no new '1 ApplyEyeMakeup'; expected classInd.txt of {WHAT}")
        numbers.add(number)
        ids[label.strip()] = files.whole_number(number, where) - 1
    return ids


def _entries(path, ids, index):
    """Of lines 'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1'; the lists of test videos have no number."""
    for where, line in files.lines(path):
        video, number = line.replace("\\", "/"), None
        *before, last = video.rsplit(None, 1)
        if before and re.fullmatch(r"\d{1,9}", last):
            video, number = before[0], int(last)
        folder, stem = os.path.basename(os.path.dirname(video)), pathlib.PurePosixPath(video).stem
        label = folder or (stem.split("_") + [""])[1]
        if label not in ids:
            raise ValueError(f"{where}: {line[:80]!r} is of none of the classes in classInd.txt; expected {WHAT}")
        if number is not None and number - 1 != ids[label]:
            raise ValueError(f"{where}: class {number}, but classInd.txt says {ids[label] + 1} for {label}")
        if not index.find(stem, label):  # copies of the videos are about that spell HandStandPushups as its class
            stem = stem.replace("HandStandPushups", "HandstandPushups")
        yield Entry(where, stem, (ClipSpec(labels=(label,)),), label)
