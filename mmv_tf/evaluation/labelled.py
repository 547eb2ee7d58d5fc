"""The clips of a set of records and their labels, for training on the records themselves; one label each or several."""

import collections
import dataclasses
import functools

import numpy as np
import tensorflow as tf

from mmv_tf.inputs import labels as record_labels
from mmv_tf.inputs import shards
from mmv_tf.inputs.faults import named_errors
from mmv_tf.metrics import classification
from mmv_tf.records import schema


@functools.cache
def _entry(modality: str):
    """The function serialized record -> (key, labels as they are joined, whether it has the modality)."""

    def entry(serialized):
        record = schema.parse(serialized)
        there = tf.reduce_any(record["audio"] != 0) if modality == "audio" else tf.size(record[modality]) > 0
        return record["key"], record_labels.joined(record), there

    return tf.function(entry, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Clips that have frames (or sound) and a label: their records' pattern, keys and labels; and how many records
    were left out, by reason.

    A record whose sound is silence all through has none.
    """

    pattern: tuple[str, ...]
    stored_keys: tuple[bytes, ...]  # as records have them, which need not be UTF-8
    labels: tuple[str, ...]
    classes: tuple[str, ...]  # of the labels, sorted
    left_out: dict[str, int]

    @functools.cached_property
    def keys(self) -> tuple[str, ...]:
        """For people."""
        return tuple(key.decode(errors="replace") for key in self.stored_keys)

    @classmethod
    @tf.autograph.experimental.do_not_convert  # nothing needs it, and it takes most of the time to build
    def read(cls, pattern, modality: str, prefix: str, setting: str) -> "Labelled":
        """Reads all records once, without decoding.

        Raises:
          ValueError: a key comes twice, a clip has several labels, or none has what is wanted; names them.
        """
        found = shards.find(pattern)
        records = shards.slices(found).flat_map(shards.read_shard)
        dataset = records.map(_entry(modality), num_parallel_calls=tf.data.AUTOTUNE)
        kept, left_out = {}, {f"no {modality}": 0, "no label": 0}
        for key, labels, present in named_errors(dataset.prefetch(64)):
            stored_key, labels = key.numpy(), labels.numpy().decode(errors="replace")
            key = stored_key.decode(errors="replace")
            label = cls._label(key, record_labels.split(labels), prefix, setting)
            if not present:
                left_out[f"no {modality}"] += 1
            elif label is None:
                left_out["no label"] += 1
            elif stored_key in kept:
                raise ValueError(f"{', '.join(pattern)}: two clips have the key {key!r}; keys tell clips apart")
            else:
                kept[stored_key] = label
        if not any(kept.values()):
            raise ValueError(f"{', '.join(pattern)}: none of the {found.num_records} clips has {modality} and a label")
        classes = tuple(sorted(cls._names(kept.values())))
        return cls(tuple(pattern), tuple(kept), tuple(kept.values()), classes, left_out)

    _label = staticmethod(record_labels.one_label)
    _names = staticmethod(set)

    @property
    def names(self) -> list[tuple[str, ...]]:
        """All labels of each clip."""
        return list(zip(self.labels, strict=True))

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
        keys, labels = tuple(self.stored_keys[r] for r in rows), tuple(self.labels[r] for r in rows)
        return dataclasses.replace(self, stored_keys=keys, labels=labels)

    def targets(self, classes) -> np.ndarray:
        """The number of each clip's class among `classes`, int [N]."""
        numbers = {name: number for number, name in enumerate(classes)}
        return np.array([numbers[label] for label in self.labels])

    def finder(self):
        """A function of a serialized record to (whether it is one of these clips, its class int32)."""
        class_of = self._table(self.targets(self.classes))

        def find(serialized):
            number = class_of(serialized)
            return number >= 0, number

        return find

    def _table(self, numbers):
        """A function of a serialized record to the number of its key, int32; -1 if it is none of these clips."""
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(self.stored_keys), tf.constant(numbers, tf.int32))
        table = tf.lookup.StaticHashTable(keys, default_value=-1)
        return lambda serialized: table.lookup(schema.parse(serialized, parts=())["key"])


@dataclasses.dataclass(frozen=True)
class Tagged(Labelled):
    """Clips with any number of labels each, a tuple; one that has none is a wrong one for every class."""

    labels: tuple[tuple[str, ...], ...]

    @staticmethod
    def _label(key, labels, prefix, setting):
        return tuple(dict.fromkeys(label for label in labels if label.startswith(prefix)))

    @staticmethod
    def _names(labels):
        return {name for names in labels for name in names}

    @property
    def names(self) -> list[tuple[str, ...]]:
        return list(self.labels)

    def targets(self, classes) -> np.ndarray:
        """Of which of `classes` each clip is, bool [N, C]."""
        return many_hot(self.labels, {name: number for number, name in enumerate(classes)})

    def finder(self):
        """A function of a serialized record to (whether it is one of these clips, its classes float32 [C])."""
        place = self._table(np.arange(len(self.keys)))
        # As lists: a row of flags a clip would be gigabytes of AudioSet.
        numbers = {name: number for number, name in enumerate(self.classes)}
        values = np.array([numbers[name] for names in self.labels for name in names], np.int32)
        listed = tf.RaggedTensor.from_row_lengths(values, [len(names) for names in self.labels])

        def find(serialized):
            number = place(serialized)
            flags = tf.one_hot(listed[tf.maximum(number, 0)], len(self.classes))
            return number >= 0, tf.reduce_sum(flags, axis=0)

        return find


def many_hot(labels, number) -> np.ndarray:
    """Labels of clips as bool [N, C]; number: {label: column}, of those that count."""
    targets = np.zeros((len(labels), len(number)), bool)
    for row, found in enumerate(labels):
        targets[row, [number[label] for label in found if label in number]] = True
    return targets


def check_classes(train, test, classes, several: bool) -> None:
    """That classifiers of the training clips can be tested on the test clips; ValueError names the class.

    Each class needs a training clip that is not of it. One of several labels that training lacks is not learned.

    Args:
      train, test: the labels of each clip, a tuple.
      classes: of the training clips.
      several: whether clips have several.
    """
    counts = collections.Counter(name for names in train for name in names)
    if full := [name for name in classes if counts[name] == len(train)]:
        raise ValueError(f"all {len(train)} training clips are of class {full[0]!r}: nothing to tell it from")
    unknown = sorted({name for names in test for name in names} - set(classes))
    if unknown and not several:
        raise ValueError(f"class {unknown[0]!r} of the test set has no training clip ({len(unknown)} such classes)")


def frequencies(train, classes, several: bool, count: int) -> np.ndarray:
    """Scores [count, C] of a classifier that knows the frequencies of the classes and nothing else.

    Of one label a clip the first of classes that are equally frequent is the guess. Other arguments as those of
    `check_classes`; no targets, which of AudioSet would be a gigabyte.
    """
    counts = collections.Counter(name for names in train for name in names)
    scores = np.array([counts[name] for name in classes])
    scores = scores / len(train) if several else scores - 1e-9 * len(classes) * np.arange(len(classes))
    return np.tile(scores, (count, 1))


def about_bare(train, test) -> list[str]:
    """A note on the clips without a label, of clips with several labels each; none if there are none."""
    bare = [sum(not labels for labels in side) for side in (train, test)]
    if not any(bare):
        return []
    return [f"{bare[0]} training and {bare[1]} test clips have no label: wrong ones for all classes"]


def about_both(train, test) -> list[str]:
    """A note on the clips, by their keys, of the test set that are training clips, too; none if there are none."""
    both = len(set(test) & set(train))
    return [f"{both} clips of the test set are training clips, too"] if both else []


def measurable(targets: np.ndarray, counted=None) -> tuple[np.ndarray, list[str]]:
    """Which columns of the test clips' targets bool [N, C] can be measured, and a note on the others.

    Raises:
      ValueError: none of them can.
    """
    columns, count = np.flatnonzero(classification.measurable(targets, counted)), targets.shape[1]
    if not len(columns):
        raise ValueError("no class has both clips that are of it and clips that are not in the test set")
    if len(columns) == count:
        return columns, []
    return columns, [f"{count - len(columns)} of {count} classes cannot be measured on the test set"]
