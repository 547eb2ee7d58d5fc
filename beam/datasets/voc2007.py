"""PASCAL VOC 2007, classification: pictures with the classes of the objects in them (Everingham et al., IJCV 2010)."""

import pathlib
import re
from xml.etree import ElementTree

from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.entries import Entry, bad_row, inputs_of
from mmv_tf.beam.specs import ClipSpec

WHAT = (
    "VOCdevkit/VOC2007 with Annotations and ImageSets/Main/trainval.txt, from "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/"
)
LABELS = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor".split()
)
# Of a class that a picture has difficult objects of, and no others: it is ignored for that class, as in the challenge.
DIFFICULT = "difficult:"
MAX_BYTES, MAX_DEPTH = 1 << 20, 32  # of the description of a picture


def read(request):
    """Inputs of the split train, val, trainval or test.

    A class is a label of a picture when at least one of its objects is not marked difficult. Where all of them are, the
    label is 'difficult:' and the class: the challenge counts such a picture neither as right nor as wrong for it.

    Raises:
      ValueError: the list of the split or the folder Annotations is missing, or the list is of another split.
    """
    given = pathlib.Path(request.annotations or request.root)
    listed = _listed(given, request.split)
    described = listed.parent.parent.parent / "Annotations"
    if not described.is_dir():
        raise ValueError(f"{described}: no such folder; expected {WHAT}")
    return inputs_of(
        lambda inputs, index: _entries(listed, described),
        request,
        (*LABELS, *(DIFFICULT + label for label in LABELS)),
        "image",
    )


def _listed(given, split):
    name = f"{split}.txt"
    if given.is_file():
        if given.name != name:
            raise ValueError(f"--annotations {given}: it is not {name}, which --split means; give its folder")
        return given
    found = sorted(given.rglob(f"Main/{name}"), key=lambda path: (len(path.parts), path))
    found = [path for path in found if "VOC2007" in path.parts] or found
    if not found:
        raise ValueError(f"--annotations {given}: no ImageSets/Main/{name} in it; expected {WHAT}")
    return found[0]


def _entries(listed, described):
    for where, line in files.lines(listed):
        name = line.split()[0]
        if not re.fullmatch(r"\w{1,50}", name):
            raise ValueError(f"{where}: {line[:80]!r} does not begin with the number of a picture; expected {WHAT}")
        try:
            labels = _labels(described / f"{name}.xml")
        except OSError as error:
            yield bad_row(name, where, f"Annotations/{name}.xml: {error.strerror}")
            continue
        except (ElementTree.ParseError, LookupError) as error:
            yield bad_row(name, where, f"Annotations/{name}.xml: {error}")
            continue
        yield Entry(where, name, (ClipSpec(labels=labels),), "JPEGImages")  # segmentations are called alike


def _elements(text, path):
    """The tree of an XML text that is nested no deeper than MAX_DEPTH."""
    parser, depth = ElementTree.XMLPullParser(("start", "end")), 0
    for begin in range(0, len(text), 1 << 14):
        parser.feed(text[begin : begin + (1 << 14)])
        for event, element in parser.read_events():
            depth += 1 if event == "start" else -1
            if depth > MAX_DEPTH:
                raise ValueError(f"{path}: nested deeper than {MAX_DEPTH}: no description of VOC 2007")
            root = element  # at last the one that ends last
    parser.close()
    return root


def _labels(path):
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "<!"
    # A DOCTYPE in UTF-16 has other bytes; nothing but UTF-8 is read here.
    if len(data) > MAX_BYTES or "\0" in text or "<!" in text.replace("<!--", ""):
        raise ValueError(f"{path}: over {MAX_BYTES} bytes, not UTF-8, or with a DOCTYPE: no description of VOC 2007")
    plain, difficult = set(), set()
    for thing in _elements(text, path).iter("object"):
        label = (thing.findtext("name") or "").strip()
        if label not in LABELS:
            raise ValueError(f"{path}: {label[:50]!r} is none of the 20 classes")
        is_plain = (thing.findtext("difficult") or "0").strip() == "0"
        (plain if is_plain else difficult).add(label)
    return (*sorted(plain), *sorted(DIFFICULT + label for label in difficult - plain))
