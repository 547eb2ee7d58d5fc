"""Classifiers on frozen features: video, sound and images; every free parameter of a protocol stands here.

Windows of the training clips -> features -> classifier; windows of a test clip -> scores, averaged over its windows.
"""

import dataclasses
from typing import Literal

import numpy as np

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, Positive, Seed, Share, ShareBelowOne
from mmv_tf.evaluation import protocol
from mmv_tf.evaluation.classifiers import MLP, Classifier, LinearSVM
from mmv_tf.evaluation.features import Extractor, Features
from mmv_tf.evaluation.labelled import about_bare, about_both, check_classes, frequencies, many_hot, measurable
from mmv_tf.evaluation.networks import BEFORE_HEAD, LAST_CONV
from mmv_tf.evaluation.windows import Windows
from mmv_tf.inputs.labels import one_label
from mmv_tf.metrics import classification, control

RAW = "raw"


@dataclasses.dataclass
class _Classification(protocol.Protocol):
    """What the protocols of this module have in common.

    Args:
      records: folder of records.
      folds: (splits to train on, splits to test on) of each fold; a name, or several. Their mean is reported.
      prepare: the command that makes the records, for the message when they are missing.
      label_prefix: only labels that begin so count, such as 'action:' where clips have labels of several sorts.
      output: of the network, to classify.
      classifier: a LinearSVM, FactorisedLinear or MLP.
      several_labels: a clip can have any number of labels: mean average precision instead of accuracy. One that has
        none counts, as a wrong one for every class.
      ignored_prefix: with several labels, a label of this and a class: the clip is neither right nor wrong for it, in
        training and in testing ('difficult:dog' of a picture of VOC whose dogs are all hard to see).
      average_precision: 'area' or '11_point', with several labels.
      train_windows: windows of a training clip, each a training example: the epochs of augmentation.
      random_windows: training windows are random ones, otherwise evenly spaced ones as in testing.
      test_windows: windows of a test clip, evenly spaced; their scores are averaged.
      seed: of random windows.
    """

    records: str = ""
    folds: protocol.Folds = (("train", "test"),)
    prepare: str = ""
    label_prefix: str = ""
    output: str = BEFORE_HEAD
    classifier: Classifier = dataclasses.field(default_factory=LinearSVM)
    several_labels: bool = False
    ignored_prefix: str = ""
    average_precision: Literal["area", "11_point"] = "area"
    train_windows: Count = 10
    random_windows: bool = True
    test_windows: Count = 10
    seed: Seed = 0
    test_crops = 1  # a setting where there is video

    def windows(self, training: bool, sample_rate: int) -> Windows:
        count, more = (self.train_windows, {}) if training else (self.test_windows, {"crops": self.test_crops})
        if self.modalities[0] == "audio":
            more["sample_rate"] = sample_rate
        return Windows.as_in(self, self.modalities[0], count, training and self.random_windows, **more)

    def run(self, compared: protocol.Comparison, extractor: Extractor) -> protocol.Measured:
        networks = compared.trained_and_not()
        wanted = {name: (network, self.output) for name, network in networks.items()}
        wanted[RAW] = (compared.raw, BEFORE_HEAD)
        rate, sets = compared.network.sample_rate, {}

        def features(split, training):
            if (split, training) not in sets:
                pattern = protocol.split_pattern(self.records, split, self.prepare)
                sets[split, training] = extractor.extract(wanted, self.windows(training, rate), pattern)
            return sets[split, training]

        def side(splits, training):
            parts = [features(split, training) for split in ((splits,) if isinstance(splits, str) else splits)]
            return {name: Features.concatenate(part[name] for part in parts) for name in wanted}

        for splits in (split for fold in self.folds for split in fold):
            protocol.split_pattern(self.records, splits, self.prepare)  # before hours of work
        names = protocol.label_names(self.records)
        found = [self._fold(side(train, True), side(test, False), names) for train, test in self.folds]
        outcomes, notes = protocol.over_runs([fold["outcomes"] for fold in found])
        return protocol.Measured(
            measures=classification.measures_of(outcomes["chance"]),
            outcomes=outcomes,
            items=[key for fold in found for key in fold["items"]],
            folds=[
                {"name": protocol.named(test), **fold["counts"]}
                for fold, (_, test) in zip(found, self.folds, strict=True)
            ],
            n={
                "test": sum(fold["counts"]["test"] for fold in found),
                "classes": max(fold["counts"]["classes"] for fold in found),
            },
            left_out={key: sum(fold["left_out"][key] for fold in found) for key in found[0]["left_out"]},
            notes=[*notes, *(note for fold in found for note in fold["notes"])],
            control=control.told(np.concatenate(coins)) if (coins := _coins_of(found)) else {},
        )

    def _fold(self, train: dict[str, Features], test: dict[str, Features], names) -> dict:
        sides, left_out, kept = {"train": train, "test": test}, {}, {}
        for title, side in sides.items():
            *kept[title], lacking = self._kept(title, next(iter(side.values())))
            left_out |= lacking
        classes = sorted({label for labels in kept["train"][1] for label in labels})
        check_classes(kept["train"][1], kept["test"][1], classes, self.several_labels)
        notes = []
        if self.several_labels:
            tested = {label for labels in kept["test"][1] for label in labels}
            known = {n for n in names if n.startswith(self.label_prefix) and not self._is_ignored(n)} | tested
            if absent := sorted(known - set(classes)):
                notes.append(f"{len(absent)} classes of the dataset have no training clip, {absent[0]!r} among them")
            notes += about_bare(kept["train"][1], kept["test"][1])
        number = {label: i for i, label in enumerate(classes)}
        targets = {title: self._targets(labels, number) for title, (_, labels) in kept.items()}
        counted = {title: None for title in kept}
        if self.several_labels and self.ignored_prefix:
            ignored = {
                title: [self._ignored(next(iter(side.values())).labels[i]) for i in np.flatnonzero(kept[title][0])]
                for title, side in sides.items()
            }
            counted = {title: ~self._targets(labels, number) for title, labels in ignored.items()}
            if not (learned := classification.measurable(targets["train"], counted["train"])).all():
                raise ValueError(
                    f"class {classes[learned.argmin()]!r}: of the training clips that count for it (without those that "
                    f"{type(self).__name__}.ignored_prefix = {self.ignored_prefix!r} leaves out) all or none are of it"
                )
            notes.append(self._about_ignored(counted))
        columns = np.arange(len(classes))
        if self.several_labels:
            columns, about = measurable(targets["test"], counted["test"])
            notes += about
        outcomes = {}
        for name in train:
            x, chosen = _flat(train[name].take(kept["train"][0]))
            tested = test[name].take(kept["test"][0])
            masked = {} if counted["train"] is None else {"counted": counted["train"][chosen]}
            scores = _mean_scores(self.classifier.fit(x, targets["train"][chosen], **masked), tested)
            if name == "network":
                coins = self._coins(x, _keys(train, kept["train"][0]), chosen, tested)
            outcomes[name] = self._outcomes(scores, targets["test"], columns, counted["test"])
        guessed = frequencies(kept["train"][1], classes, self.several_labels, len(kept["test"][1]))
        outcomes["chance"] = self._outcomes(guessed, targets["test"], columns, counted["test"])
        learned, items = (_keys(side, kept[title][0]) for title, side in sides.items())
        notes += about_both(learned, items)
        counts = {"train": len(kept["train"][1]), "test": len(kept["test"][1]), "classes": len(columns)}
        return {"outcomes": outcomes, "items": items, "counts": counts, "left_out": left_out, "notes": notes} | coins

    def _kept(self, title: str, side: Features) -> tuple[np.ndarray, list[tuple[str, ...]], dict[str, int]]:
        """Which clips of a side count, bool [N]; the labels of those; and how many lack what."""
        wanted = [self._labels(key, labels) for key, labels in zip(side.keys, side.labels, strict=True)]
        seen, labelled = side.present.any(axis=1), np.array([bool(labels) for labels in wanted], bool)
        rows = seen & (labelled | self.several_labels)  # with several labels a clip can have none
        if not (rows & labelled).any():
            prefix = f" that begins with {self.label_prefix!r}" if self.label_prefix else ""
            raise ValueError(
                f"none of the {len(rows)} {title} clips has {self.modalities[0]} and a label{prefix} "
                f"({int((~seen).sum())} lack the {self.modalities[0]})"
            )
        lacking = {
            f"{title}: no {self.modalities[0]}": int((~seen).sum()),
            f"{title}: no label": int((seen & ~rows).sum()),
        }
        return rows, [wanted[i] for i in np.flatnonzero(rows)], lacking

    def _coins(self, x, keys, chosen, tested: Features) -> dict:
        """{'coins': which coins of the test clips a classifier tells}; {} where all to learn from lie alike.

        x, chosen: examples and the clip of each, whose `keys` are given.
        """
        targets = control.coins(keys)[chosen]
        if len(set(targets)) < 2:
            return {}
        scores = _mean_scores(self.classifier.fit(x, targets), tested)
        return {"coins": scores.argmax(axis=1) == control.coins(tested.keys)}

    def _labels(self, key, labels) -> tuple[str, ...]:
        """The labels of a clip that count."""
        if self.several_labels:
            found = dict.fromkeys(label for label in labels if label.startswith(self.label_prefix))
            return tuple(label for label in found if not self._is_ignored(label))
        label = one_label(key, labels, self.label_prefix, f"{type(self).__name__}.label_prefix")
        return () if label is None else (label,)

    def _is_ignored(self, label) -> bool:
        return bool(self.ignored_prefix) and label.startswith(self.ignored_prefix)

    def _ignored(self, labels) -> tuple[str, ...]:
        """The classes for which a clip does not count, among the labels of a record."""
        return tuple(label.removeprefix(self.ignored_prefix) for label in labels if self._is_ignored(label))

    def _about_ignored(self, counted) -> str:
        train, test = (int((~counted[title]).sum()) for title in ("train", "test"))
        if train or test:
            return f"ignored, being neither of a class nor not of it: {train} times in training, {test} in testing"
        return (
            f"no clip has a label that begins with {self.ignored_prefix!r}: if the records are of an earlier version, "
            "which did not keep such labels, those clips count as wrong ones; preprocess again"
        )

    def _targets(self, labels, number):
        if not self.several_labels:
            return np.array([number[one] for (one,) in labels])
        return many_hot(labels, number)

    def _outcomes(self, scores, targets, columns, counted):
        if not self.several_labels:
            return classification.outcomes(scores, targets)
        counted = None if counted is None else counted[:, columns]
        return classification.outcomes(scores[:, columns], targets[:, columns], self.average_precision, counted)


def _coins_of(folds) -> list[np.ndarray]:
    return [fold["coins"] for fold in folds if "coins" in fold]


def _keys(side: dict[str, Features], rows) -> list[str]:
    return [key for key, row in zip(next(iter(side.values())).keys, rows, strict=True) if row]


def _flat(features: Features):
    """Features of all present windows as examples [N, d], and the clip of each."""
    clips, windows = np.nonzero(features.present)
    found = features.values[clips, windows]
    # Not every classifier would notice: a rectifier makes 0 of NaN.
    if (bad := ~np.isfinite(found).all(axis=1)).any():
        raise ValueError(f"clip {features.keys[clips[bad.argmax()]]!r}: its features hold NaN or Inf")
    return found, clips


def _mean_scores(scores, features: Features) -> np.ndarray:
    """Scores of clips [N, C]: the mean over the windows that each has."""
    x, clips = _flat(features)
    found = scores(x)
    total = np.zeros((len(features.keys), found.shape[1]))
    np.add.at(total, clips, found)
    return total / features.present.sum(axis=1, keepdims=True)


@configurable
@dataclasses.dataclass
class LinearVideo(_Classification):
    """Linear classification of video (UCF101, HMDB51, Kinetics-600): see `_Classification` and `Windows`.

    Args:
      test_crops: of a test window: 1, the centre, or 3 along the longer side; their scores are averaged, too.
    """

    num_frames: Count = 32
    frame_rate: Positive = 12.5
    min_side: Count = 224
    crop_size: Count = 224
    flip_probability: Share = 0.5
    scale_jitter: ShareBelowOne = 0.0
    colour_probability: Share = 0.0
    test_crops: Literal[1, 3] = 1
    modalities = ("video",)


@configurable
@dataclasses.dataclass
class LinearAudio(_Classification):
    """Linear classification of sound (ESC-50), by the pooled last convolution: see `_Classification` and `Windows`."""

    output: str = LAST_CONV
    seconds: Positive = 2.0
    modalities = ("audio",)


@configurable
@dataclasses.dataclass
class AudioMLP(LinearAudio):
    """AudioSet: a perceptron on frozen features of sound, several labels a clip, mAP and d'."""

    classifier: Classifier = dataclasses.field(default_factory=MLP)
    several_labels: bool = True


@configurable
@dataclasses.dataclass
class LinearImages(_Classification):
    """Linear classification of images (PASCAL VOC 2007, ImageNet) by the image network of a video network.

    Args:
      variant: 'naive' or 'trained' deflation, or 'inflated': the image repeated into a clip for the video network.
      image_frames: how often, inflated.
    """

    train_windows: Count = 1
    random_windows: bool = False
    test_windows: Count = 1
    variant: Literal["naive", "trained", "inflated"] = "trained"
    image_frames: Count = 32
    min_side: Count = 224
    crop_size: Count = 224
    flip_probability: Share = 0.5
    scale_jitter: ShareBelowOne = 0.0
    colour_probability: Share = 0.0
    modalities = ("image",)
