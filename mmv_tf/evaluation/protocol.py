"""The parts of every protocol: records in splits, networks to compare, and what comes out."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Annotated

import tensorflow as tf

from mmv_tf.common import paths
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, Range, Seed, Strings
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.networks import Network
from mmv_tf.metrics.classification import Measure
from mmv_tf.records import card as dataset_card

Folds = Sequence[tuple[Strings, Strings]]  # splits to train on and splits to test on; a name, or several


@dataclasses.dataclass
class Comparison:
    """The networks that one protocol compares: 'network', 'untrained' (None: not possible) and 'raw'."""

    network: Network
    untrained: Network | None
    raw: Network

    def trained_and_not(self) -> dict[str, Network]:
        return {"network": self.network} | ({"untrained": self.untrained} if self.untrained else {})


@dataclasses.dataclass
class Measured:
    """What a protocol has found.

    Attributes:
      measures: what is reported, the main one first.
      outcomes: {'network', 'untrained', 'raw', 'chance': {outcome: [array, one a run]}}; runs: fold after fold, in each
        seed after seed.
      items: keys of what was measured on, fold after fold.
      folds: of each run {'name': ..., 'train': number of clips, 'test': number of clips}.
      n: further numbers: 'test', 'classes', ...
      left_out: {reason: number of clips}.
      notes: sentences for the reader of the result.
      examples: of retrieval: [{'pair', 'query': {'key', 'text'}, 'found': [{'key', 'text', 'right'}], 'rank'}].
      seeds: runs of each fold, on the same items.
      groups: {outcome: [array [N], one a fold]} of outcomes that are not one a clip: the number of the clip of each.
      control: of a classifier of the network's features, `mmv_tf.metrics.control.told`; {} where there is none.
    """

    measures: list[Measure]
    outcomes: dict[str, dict[str, list]]
    items: list[str]
    folds: list[dict]
    n: dict
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    examples: list[dict] = dataclasses.field(default_factory=list)
    seeds: int = 1
    groups: dict[str, list] = dataclasses.field(default_factory=dict)
    control: dict = dataclasses.field(default_factory=dict)


def over_runs(runs: list[dict]) -> tuple[dict[str, dict[str, list]], list[str]]:
    """{network: {outcome: [one a run]}} of the outcomes that all runs have, and a note on others.

    Args:
      runs: {network: {outcome: array}} each, one of the networks being 'chance'.
    """
    found = [run["chance"] for run in runs]
    every = [key for key in found[0] if all(key in one for one in found)]
    others = sorted(set().union(*found) - set(every))
    notes = [f"{key}: not measured, since a fold has too few classes for it" for key in others]
    return {name: {key: [run[name][key] for run in runs] for key in every} for name in runs[0]}, notes


def split_pattern(folder: str, splits, prepare: str) -> list[str]:
    """The patterns of one or several splits of a folder of records.

    Raises:
      ValueError: the folder or a split is missing; says with which command it is prepared.
    """
    advice = f"; prepare them: {prepare}" if prepare else ""
    if not folder:
        raise ValueError(f"no records are named: give --gin_param=\"RECORDS='folder'\"{advice}")
    patterns = []
    for split in (splits,) if isinstance(splits, str) else splits:
        pattern = os.path.join(paths.home(folder), f"{split}-*")
        if not paths.matching(pattern):
            raise ValueError(f"there are no records {pattern}{advice}")
        patterns.append(pattern)
    return patterns


def named(splits) -> str:
    """Splits as one name."""
    return splits if isinstance(splits, str) else "+".join(splits)


def label_names(folder: str) -> tuple[str, ...]:
    """All labels that the dataset.json of a folder of records lists, or () without one."""
    if not tf.io.gfile.exists(os.path.join(paths.home(folder), dataset_card.FILE_NAME)):
        return ()
    card = dataset_card.load(folder, read_text=lambda path: tf.io.gfile.GFile(path).read())
    return tuple(sorted(card.label_map))


class Protocol:
    """What `mmv_tf.evaluate` asks of a protocol; a dataclass that gin configures."""

    modalities: tuple[str, ...] = ()
    variant: str = ""  # of the image network, where the protocol has images
    image_frames: int = 0

    def run(self, compared: Comparison, extractor: Extractor) -> Measured:
        raise NotImplementedError


@configurable
@dataclasses.dataclass
class Evaluation:
    """What is measured, and how sure it is to be.

    Args:
      protocol: a LinearVideo, LinearAudio, AudioMLP, LinearImages, FineTune, FineTuneAudio or ZeroShotRetrieval.
      dataset: its name, for the result.
      batch_size: windows that pass a network at once.
      untrained_seed: of the fresh weights that are compared with.
      bootstrap_samples, confidence, seed: of intervals.
    """

    protocol: Protocol
    dataset: str = ""
    batch_size: Count = 16
    untrained_seed: Seed = 0
    bootstrap_samples: Count = 1000
    confidence: Annotated[float, Range(above=0, below=1)] = 0.95
    seed: Seed = 0
