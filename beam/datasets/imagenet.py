"""ImageNet (ILSVRC 2012) as tensorflow_datasets has prepared it: TFRecord files of many pictures each."""

import os
import pathlib

from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.specs import Inputs, Source

WHAT = (
    "a folder prepared by tensorflow_datasets, such as tensorflow_datasets/imagenet2012/5.1.0 with features.json and "
    "imagenet2012-validation.tfrecord-00000-of-00064 in it "
    "(https://www.tensorflow.org/datasets/catalog/imagenet2012)"
)
_LABELS = "label.labels.txt"  # written by tensorflow_datasets: names in the order of their ids


def read(request):
    """Inputs with a source for each file of a split: train, validation, or any other that the dataset has.

    Raises:
      ValueError: no such folder or split, or several datasets in it.
    """
    folder = _prepared(request.root)
    import tensorflow_datasets as tfds
    from google.protobuf import json_format

    try:
        info = tfds.builder_from_directory(str(folder)).info
        splits = {name: list(split.filenames) for name, split in info.splits.items()}
    except (json_format.ParseError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"{folder}: tensorflow_datasets cannot read it ({str(error)[:100]!r})") from None
    if request.split not in splits:
        raise ValueError(f"{folder}: no split {request.split}; it has {', '.join(sorted(splits)) or 'none'}")
    labels = _labels(folder)
    below = os.path.relpath(folder, request.root)
    paths = sorted(os.path.normpath(os.path.join(below, name)).replace(os.sep, "/") for name in splits[request.split])
    return Inputs((Source(path, (), "tfds") for path in paths), labels=labels)


def _prepared(root):
    root = pathlib.Path(root)
    if not root.is_dir():
        raise ValueError(f"--videos {root}: not a folder; expected {WHAT}")
    found = [root] if (root / "features.json").is_file() else sorted(p.parent for p in root.glob("**/features.json"))
    if not found:
        raise ValueError(f"--videos {root}: no features.json in it; expected {WHAT}")
    if len(found) > 1:
        raise ValueError(f"--videos {root}: several datasets in it, {found[0]} and {found[1]} among them; name one")
    return found[0]


def _labels(folder):
    path = pathlib.Path(folder, _LABELS)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected {WHAT}")
    return files.by_id({number: line for number, (_, line) in enumerate(files.lines(path))}, path)


def images(file, place):
    """Yields (name, bytes of the picture, labels) of each picture in a file.

    Args:
      file: to read.
      place: its path in the dataset, beside which label.labels.txt lies; for messages, too.
    Raises:
      ValueError: damaged, or a record is no picture with a label; names file and record.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    labels, number = _labels(pathlib.Path(place).parent), 0
    try:
        # Neither eager tensors nor datasets: those would take hold of a GPU in every worker.
        for number, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(file))):
            feature = tf.train.Example.FromString(record).features.feature
            name, data = feature["file_name"].bytes_list.value, feature["image"].bytes_list.value
            ids = feature["label"].int64_list.value
            if len(data) != 1 or not all(0 <= n < len(labels) for n in ids):
                raise ValueError("no picture with a label")
            yield name[0].decode("utf-8", "replace") if name else str(number), data[0], tuple(labels[n] for n in ids)
    except (tf.errors.DataLossError, ValueError) as error:
        raise ValueError(f"{place}: record {number}: {str(error)[:200]}") from None
    except DecodeError:
        raise ValueError(f"{place}: record {number}: no tf.train.Example") from None
