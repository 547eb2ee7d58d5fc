"""Features of the windows of records: extracted once for every network, kept in files, so that a killed run goes on.

CACHE/<what they depend on>/00000064.npz     of 64 records and so on; each file is whole or not there

They depend on the network, its weights and settings (`Network.checksum`), on the windows, and on what the records hold.
"""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tqdm

from mmv_tf.common import files, identity
from mmv_tf.common.batches import filled
from mmv_tf.evaluation.networks import Network
from mmv_tf.evaluation.windows import Windows
from mmv_tf.inputs import contents, shards
from mmv_tf.inputs import labels as record_labels
from mmv_tf.inputs.faults import named_errors

_WINDOWS_A_PART = 512  # what a killed run loses at most


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Of N records with W windows each (a window's crops count as windows).

    Attributes:
      modality: what the windows are of.
      values: float32 [N, W, d]; without meaning where not `present`.
      present: bool [N, W], whether the record has that window.
      keys: the records' keys, N of them.
      labels: N tuples of label names, as stored; of text: the captions.
    """

    modality: str
    values: np.ndarray
    present: np.ndarray
    keys: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]

    def take(self, rows) -> "Features":
        """Those of some records, by their indices or a mask."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        keys, labels = tuple(self.keys[i] for i in rows), tuple(self.labels[i] for i in rows)
        return Features(self.modality, self.values[rows], self.present[rows], keys, labels)

    @classmethod
    def concatenate(cls, parts) -> "Features":
        parts = list(parts)
        return cls(
            parts[0].modality,
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.present for part in parts]),
            tuple(key for part in parts for key in part.keys),
            tuple(labels for part in parts for labels in part.labels),
        )


def data_identity(shards_of_patterns) -> str:
    """One identity of records that were read, from `contents.identities` of each pattern in the order of reading."""
    return identity.of(list(shards_of_patterns))


@dataclasses.dataclass
class Extractor:
    """Extracts features of records, each network's in one pass over the records that it has not seen.

    Args:
      cache: folder for what is extracted; '' keeps nothing.
      batch_size: windows that pass a network at once.
      stop: called between batches; raises if the run is to end.
      on_accelerator: the host only decodes and cuts frames, and the rest of the work on them is done where networks are
        (`Windows.boxed`). Features are kept apart from those of windows that the host makes.
    """

    cache: str = ""
    batch_size: int = 16
    stop: Callable | None = None
    on_accelerator: bool = False

    def __post_init__(self):
        self._functions = {}  # compiled once a network and output
        self._contents = {}  # {pattern: identity}

    @property
    def data(self) -> str:
        """The identity of all records that were asked for, by what they hold and in the order of asking."""
        return data_identity(self._contents.values())

    def contents(self, pattern) -> list[str]:
        """The identity of each shard that `pattern` means, as it is now."""
        name = (pattern,) if isinstance(pattern, str) else tuple(pattern)
        self._contents[name] = contents.identities(shards.find(pattern))
        return self._contents[name]

    def form(self, windows: Windows, pattern) -> Windows:
        """The windows of the records that `pattern` means, with boxes if an accelerator finishes them."""
        return windows.boxed(shards.find(pattern)) if self.on_accelerator else windows

    def extract(self, wanted: dict[str, tuple[Network, str]], windows: Windows, pattern) -> dict[str, Features]:
        """The features of all records that `pattern` means, in the order of their files.

        Args:
          wanted: {name: (network, output)}.
          windows: which windows.
          pattern: glob of shards, or several.
        Returns:
          {name: Features}.
        Raises:
          ValueError: no records, one that cannot be read, or NaN or Inf in a feature; names it.
        """
        found, windows = shards.find(pattern), self.form(windows, pattern)
        size = max(1, _WINDOWS_A_PART // windows.views)
        parts = [
            (file, count, begin, min(begin + size, count))
            for file, count in zip(found.files, found.counts, strict=True)
            for begin in range(0, count, size)
        ]
        made_of = [list(found.counts), self.contents(pattern)]
        stores = {
            name: _Store(self.cache, network, output, windows, made_of) for name, (network, output) in wanted.items()
        }
        missing = [i for i in range(len(parts)) if not all(store.has(i) for store in stores.values())]
        if missing:
            self._fill(wanted, windows, {i: parts[i] for i in missing}, stores)
        return {name: Features.concatenate(store.get(i) for i in range(len(parts))) for name, store in stores.items()}

    def _fill(self, wanted, windows, parts, stores):
        """Puts what is missing of `parts` into the stores."""
        active = {n: w for n, w in wanted.items() if not all(stores[n].has(i) for i in parts)}
        lengths = {i: (end - begin) * windows.views for i, (_, _, begin, end) in parts.items()}
        waiting, order = _Rows(), list(parts)
        dataset = windows.dataset(list(parts.values())).batch(self.batch_size, num_parallel_calls=2, deterministic=True)
        title = f"{windows.modality}, {' and '.join(active)}"
        with tqdm.tqdm(total=sum(lengths.values()), unit="window", desc=title, dynamic_ncols=True) as bar:
            for batch in named_errors(dataset.prefetch(2)):
                waiting.add(self._embed(active, batch, windows))
                bar.update(len(batch["key"]))
                while order and waiting.size >= lengths[order[0]]:
                    number = order.pop(0)
                    rows = waiting.take(lengths[number])
                    for name in active:
                        if not stores[name].has(number):
                            stores[name].put(number, _features(rows, name, windows))
                if self.stop:
                    self.stop()

    def _function(self, network, modality, output, inputs):
        spec = tf.TensorSpec(inputs.shape, inputs.dtype)
        name = (network.name, network.checksum, modality, output, spec)
        if name not in self._functions:
            self._functions[name] = network.function(modality, output).get_concrete_function(spec)
        return self._functions[name]

    def _embed(self, wanted, batch, windows):
        rows = {"key": batch["key"].numpy(), "labels": batch["labels"].numpy(), "present": batch["present"].numpy()}
        size = len(rows["key"])
        whole = tf.nest.map_structure(
            lambda values: tf.constant(filled(values.numpy(), self.batch_size)), (batch["input"], batch["present"])
        )
        inputs = windows.finish(*whole)
        for name, (network, output) in wanted.items():
            values = self._function(network, windows.modality, output, inputs)(inputs).numpy()[:size]
            bad = rows["present"] & ~np.isfinite(values).all(axis=1)
            if bad.any():
                key = rows["key"][bad.argmax()].decode(errors="replace")
                raise ValueError(f"clip {key!r}: the {name} features of its {windows.modality} hold NaN or Inf")
            rows[name] = values
        return rows


class _Rows:
    """Rows by name that come in batches and leave in parts."""

    def __init__(self):
        self._rows, self.size = {}, 0

    def add(self, batch):
        for name, rows in batch.items():
            self._rows.setdefault(name, []).append(rows)
        self.size += len(batch["key"])

    def take(self, count):
        joined = {name: np.concatenate(parts) for name, parts in self._rows.items()}
        self._rows = {name: [rows[count:]] for name, rows in joined.items()}
        self.size -= count
        return {name: rows[:count] for name, rows in joined.items()}


def _features(rows, name, windows) -> Features:
    count = windows.views
    keys = [key.decode(errors="replace") for key in rows["key"][::count]]
    labels = [text.decode(errors="replace") for text in rows["labels"][::count]]
    return Features(
        windows.modality,
        rows[name].reshape(len(keys), count, -1),
        rows["present"].reshape(len(keys), count),
        tuple(keys),
        tuple(map(record_labels.split, labels)),
    )


class _Store:
    """The parts of one network's features, in files or, without a folder, in memory."""

    def __init__(self, cache, network, output, windows, records):
        made_of = [network.checksum, output, windows.settings(), records, 2]
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        self._folder = os.path.join(cache, f"{windows.modality}-{network.name}-{digest[:16]}") if cache else ""
        self._parts, self._modality = {}, windows.modality
        if cache:
            tf.io.gfile.makedirs(self._folder)
        self._there = {name for name in tf.io.gfile.listdir(self._folder)} if cache else set()

    def has(self, number: int) -> bool:
        return number in self._parts or f"{number:08d}.npz" in self._there

    def put(self, number: int, features: Features) -> None:
        if not self._folder:
            self._parts[number] = features
            return
        content = io.BytesIO()
        labels = [record_labels.SEPARATOR.join(names) for names in features.labels]
        text = np.frombuffer(json.dumps([features.keys, labels]).encode(), np.uint8)
        np.savez(content, values=features.values, present=features.present, text=text)
        files.write_bytes(os.path.join(self._folder, f"{number:08d}.npz"), content.getvalue())
        self._there.add(f"{number:08d}.npz")

    def get(self, number: int) -> Features:
        if number in self._parts:
            return self._parts[number]
        with tf.io.gfile.GFile(os.path.join(self._folder, f"{number:08d}.npz"), "rb") as file:
            stored = np.load(io.BytesIO(file.read()), allow_pickle=False)
        keys, labels = json.loads(stored["text"].tobytes())
        labels = tuple(map(record_labels.split, labels))
        return Features(self._modality, stored["values"], stored["present"], tuple(keys), labels)
