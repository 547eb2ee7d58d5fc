"""The datasets that --dataset knows: their splits, and which options each has."""

import dataclasses
import importlib

from mmv_tf.beam.specs import Settings

_WHOLE = {"clip_seconds": Settings().max_clip_seconds}  # a file is one clip, whatever its length


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What the command needs to know of a dataset before it reads it.

    Attributes:
      about: one line: what is looked at, what becomes a clip.
      splits: that --split may name; empty: any word.
      options: fields of entries.Request that it uses, beside root, annotations and split.
      settings: fields of Settings that have another default for it.
    """

    about: str
    splits: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    settings: dict = dataclasses.field(default_factory=dict)


DATASETS = {
    "howto100m": Dataset("raw_caption.json: a clip a narration", options=("ids", "min_clip_seconds")),
    "audioset": Dataset(
        "unbalanced_train_segments.csv and class_labels_indices.csv: a clip a segment, several labels",
        splits=("train", "balanced_train", "eval"),
        options=("classes", "files"),
        settings=_WHOLE,
    ),
    "kinetics600": Dataset(
        "train.csv: a clip a segment, one label",
        splits=("train", "val", "test"),
        options=("classes", "files"),
        settings=_WHOLE,
    ),
    "ucf101": Dataset(
        "ucfTrainTestlist/: a clip a video, one label",
        splits=("train", "test"),
        options=("fold", "classes"),
        settings=_WHOLE,
    ),
    "hmdb51": Dataset(
        "testTrainMulti_7030_splits/: a clip a video, one label",
        splits=("train", "test"),
        options=("fold",),
        settings=_WHOLE,
    ),
    "esc50": Dataset(
        "meta/esc50.csv: a clip a sound, one label; a split is a fold",
        splits=tuple(f"fold{number}" for number in range(1, 6)),
        settings=_WHOLE,
    ),
    "youcook2": Dataset("youcookii_annotations_trainval.json: a clip a step, one sentence", ("train", "val", "test")),
    "msrvtt": Dataset(
        "MSRVTT_data.json or MSRVTT_JSFUSION_test.csv: a clip a video, its sentences",
        splits=("train", "val", "test", "test_1k", "train_7k", "train_9k"),
        settings=_WHOLE | {"max_captions": 20},
    ),
    "voc2007": Dataset(
        "VOCdevkit/VOC2007/: a picture is a clip, several labels",
        splits=("trainval", "train", "val", "test"),
    ),
    "imagenet": Dataset("a folder prepared by tensorflow_datasets: a picture is a clip, one label"),
}


def read(name, request):
    """The specs.Inputs of one split of a dataset.

    Args:
      name: key of DATASETS.
      request: entries.Request.
    Raises:
      ValueError: in one line, what is wrong with the files.
    """
    return importlib.import_module(f"mmv_tf.beam.datasets.{name}").read(request)


def listing():
    """The datasets, one a line, for --help."""
    lines = []
    for name, dataset in DATASETS.items():
        splits = ", ".join(dataset.splits) or "any name"
        options = "".join(f" --{option}" for option in dataset.options)
        lines.append(f"  {name:12}{dataset.about}; splits: {splits}{';' + options if options else ''}")
    return "\n".join(lines)
