"""Embeddings of a set of records by a model: one clip a record, the middle one, without augmentation."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from mmv_tf.common.batches import filled
from mmv_tf.inputs import labels as record_labels
from mmv_tf.inputs.faults import named_errors
from mmv_tf.metrics import retrieval


@dataclasses.dataclass(frozen=True, eq=False)
class Clips:
    """The embeddings of N clips, and what the clips are.

    Attributes:
      embeddings: {(modality, space): float32 [N, d]}, raw; the space 'repr' is the representation before the heads.
        A clip has one text: the first of its narrations that has a known word (with a vector).
      present: {modality: bool [N]}; without meaning is the embedding of what is not present.
      words: int32 [N, W], ids of that narration; None if the model takes no text.
      keys: N keys of the records.
      labels: N tuples, the names of the record's labels (their numbers where the record has no names).
    """

    embeddings: dict[tuple[str, str], np.ndarray]
    present: dict[str, np.ndarray]
    words: np.ndarray | None
    keys: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]

    def relevance(self, rows: np.ndarray, by_text: bool) -> retrieval.Relevance:
        """Which of the clips `rows` (bool [N]) is right for which: itself.

        `by_text`: so are those with the same narration, which cannot be told apart by it.
        """
        groups = np.arange(rows.sum())
        if by_text:
            groups = np.unique(self.words[rows], axis=0, return_inverse=True)[1].reshape(-1)
        return retrieval.Relevance.same_group(groups, groups)


class RecordEmbedder:
    """Embeds sets of records, each in one pass; a set or a shape that comes again costs no preparation.

    Works under any strategy, called from its cross-replica context: the clips run on one device, where the variables
    are read and never written.

    Args:
      model: a built MMV.
      pipeline: the InputPipeline that feeds it; what its batches lack (`InputPipeline.boxed`), that device does.
      batch_size: clips embedded at once.
    """

    def __init__(self, model, pipeline, batch_size: int):
        self._model, self._pipeline, self._batch_size = model, pipeline, batch_size
        self._datasets: dict[str, tf.data.Dataset] = {}
        self._embed = tf.function(self._embed_batch, autograph=False)

    def embed(self, pattern: str, most: int) -> Clips:
        """Embeds the first `most` records that `pattern` means, in the order of their files.

        Raises:
          ValueError: no file matches, or a record cannot be read; names it.
        """
        if pattern not in self._datasets:
            self._datasets[pattern] = self._pipeline.evaluation_dataset(pattern, self._batch_size)
        batches = list(self.each(self._datasets[pattern].take(-(-most // self._batch_size))))
        first = batches[0]
        return Clips(
            {name: _joined([b.embeddings[name] for b in batches], most) for name in first.embeddings},
            {name: _joined([b.present[name] for b in batches], most) for name in first.present},
            None if first.words is None else _joined([b.words for b in batches], most),
            tuple(key for b in batches for key in b.keys)[:most],
            tuple(names for b in batches for names in b.labels)[:most],
        )

    def each(self, dataset: tf.data.Dataset) -> Iterator[Clips]:
        """The embeddings of each batch of `InputPipeline.evaluation_dataset` or the like, one clip a record.

        Raises:
          ValueError: a record cannot be read; names it.
        """
        return map(self._clips, named_errors(dataset))

    def _clips(self, batch) -> Clips:
        batch = tf.nest.map_structure(lambda values: values.numpy(), self._model.without_empty_texts(batch))
        keys, names = (tuple(map(_text, batch.pop(name).tolist())) for name in ("key", "label_names"))
        size, words = len(batch["label"]), None
        if "text" in self._model.graph.modalities:
            # Narrations are nearest in time first, and one clip is one row.
            mask = batch["text_mask"]
            batch["text"] = words = batch["text"][np.arange(size), mask.argmax(axis=1)]
            batch["text_mask"] = mask.any(axis=1)
        present = {modality: batch[f"{modality}_mask"] for modality in self._model.graph.modalities}
        whole = tf.nest.map_structure(lambda values: tf.constant(filled(values, self._batch_size)), batch)
        embeddings = {
            (modality, space): rows.numpy()[:size]
            for modality, spaces in self._embed(whole).items()
            for space, rows in spaces.items()
        }
        return Clips(embeddings, present, words, keys, tuple(map(record_labels.split, names)))

    def _embed_batch(self, batch):
        batch = batch if self._pipeline.is_finished else self._pipeline.finish(batch)
        embeddings = self._model.embed({name: batch[name] for name in self._model.graph.modalities}, training=False)
        return tf.nest.map_structure(lambda rows: tf.cast(rows, tf.float32), embeddings)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _joined(parts: list[np.ndarray], most: int) -> np.ndarray:
    return np.concatenate(parts)[:most]
