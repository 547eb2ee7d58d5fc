"""The clips of a set of records and their labels, for training on the records themselves."""

import collections
import dataclasses

import numpy as np
import tensorflow as tf

from mmv_tf.evaluation.features import named_errors
from mmv_tf.inputs import labels as record_labels
from mmv_tf.inputs import shards
from mmv_tf.inputs.shards import read_shard
from mmv_tf.records import schema


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Clips that have frames and a label: their records' pattern, keys and labels; and how many others there are."""

    pattern: tuple[str, ...]
    keys: tuple[str, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]  # of the labels, sorted
    left_out: dict[str, int]

    @classmethod
    def read(cls, pattern, modality: str, prefix: str, setting: str) -> "Labelled":
        """Reads all records once, without decoding."""

        def entry(serialized):
            record = schema.parse(serialized)
            return record["key"], record_labels.joined(record), tf.size(record[modality]) > 0

        found = shards.find(pattern)
        dataset = _read(found).map(entry, num_parallel_calls=tf.data.AUTOTUNE)
        kept, left_out = {}, {f"no {modality}": 0, "no label": 0}
        for key, labels, present in named_errors(dataset.prefetch(64)):
            key, labels = (value.numpy().decode(errors="replace") for value in (key, labels))
            label = record_labels.one_label(key, record_labels.split(labels), prefix, setting)
            if not present:
                left_out[f"no {modality}"] += 1
            elif label is None:
                left_out["no label"] += 1
            else:
                kept[key] = label
        if not kept:
            raise ValueError(f"{', '.join(pattern)}: none of the {found.num_records} clips has {modality} and a label")
        return cls(tuple(pattern), tuple(kept), tuple(kept.values()), tuple(sorted(set(kept.values()))), left_out)

    def check_classes(self, test: "Labelled") -> None:
        """That a classifier of these clips can be tested on `test`; ValueError names the class."""
        if len(self.classes) < 2:
            raise ValueError(f"all {len(self.keys)} training clips are of class {self.classes[0]!r}")
        if unknown := sorted(set(test.classes) - set(self.classes)):
            raise ValueError(f"class {unknown[0]!r} of the test set has no training clip ({len(unknown)} such classes)")

    def draw(self, per_class: int, seed: int) -> "Labelled":
        """`per_class` clips of each class, drawn by the seed; all for 0.

        Raises:
          ValueError: a class has fewer; names it.
        """
        if not per_class:
            return self
        rs, counts, rows = np.random.default_rng(seed), collections.Counter(), []
        for row in rs.permutation(len(self.keys)):
            if counts[self.labels[row]] < per_class:
                counts[self.labels[row]] += 1
                rows.append(row)
        if short := [name for name in self.classes if counts[name] < per_class]:
            raise ValueError(f"class {short[0]!r} has {counts[short[0]]} training clips, and {per_class} are wanted")
        rows.sort()
        keys, labels = tuple(self.keys[r] for r in rows), tuple(self.labels[r] for r in rows)
        return dataclasses.replace(self, keys=keys, labels=labels)

    def frequencies(self, count: int) -> np.ndarray:
        """Scores [count, C] of a classifier that knows the frequencies of the classes and nothing else."""
        counts = collections.Counter(self.labels)
        return np.tile([counts[name] - 1e-9 * i * len(counts) for i, name in enumerate(self.classes)], (count, 1))

    def class_of(self):
        """A function of a serialized record to its class, int32; -1 if it is none of these clips."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        values = tf.constant([numbers[label] for label in self.labels], tf.int32)
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(self.keys), values)
        table = tf.lookup.StaticHashTable(keys, default_value=-1)
        return lambda serialized: table.lookup(schema.parse(serialized, parts=())["key"])


def _read(found: shards.Shards) -> tf.data.Dataset:
    return slices(found).flat_map(read_shard)


def slices(found: shards.Shards) -> tf.data.Dataset:
    """The shards as arguments of `read_shard`, one each."""
    counts = tf.constant(found.counts, tf.int64)
    return tf.data.Dataset.from_tensor_slices((tf.constant(found.files), counts, tf.zeros_like(counts), counts))
