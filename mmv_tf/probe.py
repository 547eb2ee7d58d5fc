"""A look at what the network has learned, while it trains: retrieval on held-out clips, k-NN on a small labelled set.

--gin_param="Probe.every = 1000" --gin_param="Probe.retrieval_data = 'records/test-*'"
--gin_param="Probe.labelled_train = 'ucf/train-*'" --gin_param="Probe.labelled_test = 'ucf/test-*'"
"""

from collections.abc import Mapping

import gin
import numpy as np
import tensorflow as tf

from mmv_tf.evals import knn, retrieval
from mmv_tf.input_pipeline import explain_data_error

LABELLED_MODALITIES = ("video", "audio")
RECALLS = (1, 5)


@gin.configurable
class Probe:
    """Measures a model without a trace in it: moving averages and random states stay as they are.

    Args:
      every: steps between two probes, 0 for none; a multiple of train.steps_per_loop.
      retrieval_data: pattern of held-out records to find in each other, '' for none.
      labelled_train, labelled_test: patterns of records with labels: neighbours, and clips to classify; '' for none.
      max_clips: at most so many records of each set are looked at, the first ones in the order of their files.
      num_neighbours: k of k-NN.
      batch_size: clips embedded at once.

    Raises:
      ValueError: names the setting.
    """

    def __init__(
        self,
        every: int = 0,
        retrieval_data: str = "",
        labelled_train: str = "",
        labelled_test: str = "",
        max_clips: int = 1000,
        num_neighbours: int = 5,
        batch_size: int = 32,
    ):
        for name, value, least in (
            ("every", every, 0),
            ("max_clips", max_clips, 2),
            ("num_neighbours", num_neighbours, 1),
            ("batch_size", batch_size, 1),
        ):
            if value < least:
                raise ValueError(f"Probe.{name} = {value} must be at least {least}.")
        if bool(labelled_train) != bool(labelled_test):
            absent = "labelled_test" if labelled_train else "labelled_train"
            raise ValueError(
                f"Probe.{absent} is not set: k-NN needs both, clips to compare with and clips to classify."
            )
        if every and not (retrieval_data or labelled_train):
            raise ValueError(
                f"Probe.every = {every}, and there is nothing to probe: set Probe.retrieval_data, or "
                "Probe.labelled_train and Probe.labelled_test, to patterns of records."
            )
        self.every, self.retrieval_data = every, retrieval_data
        self.labelled_train, self.labelled_test = labelled_train, labelled_test
        self.max_clips, self.num_neighbours, self.batch_size = max_clips, num_neighbours, batch_size
        self._embed, self._model = None, None

    def due(self, step: int) -> bool:
        """Whether a probe is to be run at `step` (0 too: the untrained network is what to compare with)."""
        return bool(self.every) and step % self.every == 0

    def run(self, model, pipeline) -> dict[str, float]:
        """Probes `model` with records that `pipeline` reads. Call it in the cross-replica context (any strategy).

        Returns:
          {'probe/...': value}: for each way between two modalities with a common space
          'probe/retrieval/video_to_audio/R@1', '.../R@5' (shares) and '.../median_rank' (from 1), and for video and
          audio 'probe/knn/video' (share classified rightly); beside each, under '<name>_chance', what knowing nothing
          gives.
        Raises:
          ValueError: a set is missing, has too few clips, or lacks labels or classes; names the setting.
        """
        if self._model is not model:
            self._model, self._embed = model, _embedder(model)
        scalars = {}
        if self.retrieval_data:
            scalars |= self._retrieval(model.graph, pipeline)
        if self.labelled_train:
            scalars |= self._knn(pipeline)
        return {f"probe/{name}": float(value) for name, value in scalars.items()}

    def _retrieval(self, graph, pipeline):
        clips = self._collect(pipeline, "retrieval_data")
        scalars = {}
        for name, first, second, space in comparisons(graph):
            if (first, space) not in clips or (second, space) not in clips:
                continue
            both = clips["mask", first] & clips["mask", second]
            if both.sum() < 2:
                continue
            sides = {modality: clips[modality, space][both] for modality in (first, second)}
            # Clips with the same narration cannot be told apart by it: each of them is right.
            texts = [tuple(row) for row in clips["words", "text"][both]] if "text" in (first, second) else None
            groups = range(int(both.sum())) if texts is None else [texts.index(text) for text in texts]
            relevance = retrieval.Relevance.same_group(groups, groups)
            chance = retrieval.chance(relevance, RECALLS)
            suffix = name.removeprefix(f"{first}_{second}")
            for query, target in ((first, second), (second, first)):
                ranks = retrieval.ranks(sides[query], sides[target], relevance)
                for measure, value in retrieval.metrics(ranks, RECALLS).items():
                    label = f"retrieval/{query}_to_{target}{suffix}/{measure.replace('MedR', 'median_rank')}"
                    scalars[label], scalars[f"{label}_chance"] = value, chance[measure]
        if not scalars:
            raise ValueError(
                f"Probe.retrieval_data = {self.retrieval_data!r}: fewer than 2 clips have both modalities of any pair."
            )
        return scalars

    def _knn(self, pipeline):
        train, test = (self._collect(pipeline, name, labelled=True) for name in ("labelled_train", "labelled_test"))
        scalars = {}
        for modality in LABELLED_MODALITIES:
            if (modality, "repr") not in train:
                continue
            sets = []
            for clips in (train, test):
                keep = clips["mask", modality] & (clips["label", ""] >= 0)
                sets += [clips[modality, "repr"][keep], clips["label", ""][keep]]
            if len(sets[1]) and len(sets[3]):
                try:
                    accuracy, majority = knn.accuracy(*sets, num_neighbours=self.num_neighbours)
                except ValueError as error:
                    raise ValueError(f"Probe.labelled_train = {self.labelled_train!r}, {modality}: {error}") from None
                scalars[f"knn/{modality}"], scalars[f"knn/{modality}_chance"] = accuracy, majority
        return scalars

    def _collect(self, pipeline, setting: str, labelled: bool = False) -> dict[tuple[str, str], np.ndarray]:
        """{(modality, space): [N, d], ('mask', modality): [N], ('words', 'text'): [N, W], ('label', ''): [N]}."""
        parts: dict[tuple[str, str], list] = {}
        try:
            dataset = pipeline.evaluation_dataset(getattr(self, setting), self.batch_size)
            for batch in dataset.unbatch().take(self.max_clips).batch(self.batch_size):
                for name, rows in self._rows(batch, labelled).items():
                    parts.setdefault(name, []).append(rows)
        except tf.errors.OpError as error:
            if fault := explain_data_error(error):
                raise ValueError(f"Probe.{setting}: {fault}") from error
            raise
        except ValueError as error:
            raise ValueError(f"Probe.{setting}: {error}") from error
        return {name: np.concatenate(rows) for name, rows in parts.items()}

    def _rows(self, batch, labelled):
        batch = {name: value.numpy() for name, value in batch.items() if name != "key"}
        size = len(batch["label"])
        modalities = [m for m in self._model.graph.modalities if m in batch and not (labelled and m == "text")]
        rows = {("label", ""): batch["label"]}
        inputs = {}
        for modality in modalities:
            values, mask = batch[modality], batch.get(f"{modality}_mask", np.ones(size, bool))
            if modality == "text":
                nearest = mask.argmax(axis=1)
                values, mask = values[np.arange(size), nearest], mask.any(axis=1)
                rows["words", "text"] = values
            rows["mask", modality] = mask
            # Always the same shape: one trace, and no other would do on a TPU.
            inputs[modality] = np.concatenate(
                [values, np.zeros((self.batch_size - size, *values.shape[1:]), values.dtype)]
            )
        for modality, spaces in self._embed(inputs).items():
            for space, embeddings in spaces.items():
                rows[modality, space] = embeddings.numpy()[:size]
        return rows


def _embedder(model):
    @tf.function(autograph=False)
    def embed(inputs):
        embeddings = model.embed(inputs, training=False)
        return tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float32), embeddings)

    return lambda inputs: embed({name: tf.constant(values) for name, values in inputs.items()})


def comparisons(graph) -> list[tuple[str, str, str, str]]:
    """(name, first, second, space): the pairs of a graph, and the modalities with a common space that no pair has."""
    found = [(graph.pair_name(pair), pair.first, pair.second, pair.space) for pair in graph.pairs]
    spaces: Mapping[str, tuple[str, ...]] = {m: graph.spaces_of(m) for m in graph.modalities}
    for number, first in enumerate(graph.modalities):
        for second in graph.modalities[number + 1 :]:
            space = retrieval.common_space(first, second, spaces)
            if space and not any({first, second} == {pair.first, pair.second} for pair in graph.pairs):
                found.append((f"{first}_{second}", first, second, space))
    return found
