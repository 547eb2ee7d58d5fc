"""A look at what the network has learned, while it trains: retrieval on held-out clips, k-NN on a small labelled set.

--gin_param="Probe.every = 1000" --gin_param="Probe.retrieval_data = 'records/test-*'"
--gin_param="Probe.labelled_train = 'ucf/train-*'" --gin_param="Probe.labelled_test = 'ucf/test-*'"
--gin_param="Probe.zipf_clusters = 50"
"""

from collections.abc import Mapping
from typing import Annotated

import numpy as np

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, Range
from mmv_tf.inputs.labels import one_label
from mmv_tf.metrics import control, knn, retrieval, zipf
from mmv_tf.training import optimizer_state
from mmv_tf.training.embedder import Clips, RecordEmbedder

LABELLED_MODALITIES = ("video", "audio")
RECALLS = (1, 5)
_BESIDE = ("_chance", "_control", "_clips")


@configurable
class Probe:
    """Measures a model without a trace in it: moving averages and random states stay as they are.

    Where the optimiser makes moving averages of the weights (`use_ema`), those are measured.

    Args:
      every: steps between two probes, 0 for none; a multiple of train.steps_per_loop.
      retrieval_data: pattern of held-out records to find in each other, '' for none.
      labelled_train, labelled_test: patterns of records with labels: neighbours, and clips to classify; '' for none.
      label_prefix: only labels that begin so count, such as 'event:' where clips have labels of several sorts.
      max_clips: at most so many records of each set are looked at, the first ones in the order of their files.
      num_neighbours: k of k-NN.
      batch_size: clips embedded at once.
      zipf_clusters: k-means clusters of the clips of `retrieval_data`, whose sizes are compared with Zipf's law (ELo's
        fitness, `mmv_tf.metrics.zipf`); 0 for none.

    Raises:
      ValueError: names the setting.
    """

    def __init__(
        self,
        every: CountOrNone = 0,
        retrieval_data: str = "",
        labelled_train: str = "",
        labelled_test: str = "",
        label_prefix: str = "",
        max_clips: Annotated[int, Range(least=2)] = 1000,
        num_neighbours: Count = 5,
        batch_size: Count = 16,
        zipf_clusters: CountOrNone = 0,
    ):
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
        if zipf_clusters and not retrieval_data:
            raise ValueError(
                f"Probe.zipf_clusters = {zipf_clusters}, and there is nothing to cluster: set Probe.retrieval_data to "
                "a pattern of held-out records."
            )
        self.every, self.retrieval_data, self.zipf_clusters = every, retrieval_data, zipf_clusters
        self.labelled_train, self.labelled_test, self.label_prefix = labelled_train, labelled_test, label_prefix
        self.max_clips, self.num_neighbours, self.batch_size = max_clips, num_neighbours, batch_size
        self._embedder, self._probed = None, None
        self._asked: int | None = None  # the step at which `due` was asked last

    def due(self, step: int) -> bool:
        """Whether a probe is to be run at `step`: the first one that is asked for at or after a multiple of `every`.

        0 too: the untrained network is what to compare with. Ask once a loop, from the beginning of the run on.
        """
        before, self._asked = self._asked, step
        if not self.every:
            return False
        if before is None or before >= step:
            return step % self.every == 0
        return step // self.every > before // self.every

    def run(self, model, pipeline) -> dict[str, float]:
        """Probes `model` with records that `pipeline` reads. Call it in the cross-replica context (any strategy).

        Returns:
          {'probe/...': value}: for each way between two modalities with a common space
          'probe/retrieval/video_to_audio/R@1', '.../R@5' (shares), '.../median_rank' (from 1) and '.../clips' (how many
          were compared), and for video and audio 'probe/knn/video' (share classified rightly); beside each, under
          '<name>_chance', what knowing nothing gives, and under 'probe/knn/video_control' the share of coins that are
          told (`mmv_tf.metrics.control`): one half, unless the two sets have clips in common, and under
          'probe/knn/video_clips' how many were classified; 'probe/zipf/video', at most 0, for the representation of
          each modality.
        Raises:
          ValueError: a set is missing, has too few clips, or lacks labels or classes; names the setting.
        """
        if self._embedder is None or self._probed != (model, pipeline):
            self._probed, self._embedder = (model, pipeline), RecordEmbedder(model, pipeline, self.batch_size)
        scalars = {}
        with optimizer_state.averages_in_place(model):
            if self.retrieval_data:
                clips = self._clips("retrieval_data")
                scalars |= self._retrieval(model.graph, clips)
                scalars |= self._zipf(model.graph, clips) if self.zipf_clusters else {}
            if self.labelled_train:
                scalars |= self._knn(model.graph)
        return {f"probe/{name}": float(value) for name, value in scalars.items()}

    def _clips(self, setting: str) -> Clips:
        try:
            return self._embedder.embed(getattr(self, setting), self.max_clips)
        except ValueError as error:
            raise ValueError(f"Probe.{setting}: {error}") from error

    def _zipf(self, graph, clips):
        scalars = {}
        for modality in graph.modalities:
            values = clips.embeddings[modality, "repr"][clips.present[modality]]
            if not len(values):
                continue  # such as text in records of AudioSet
            try:
                scalars[f"zipf/{modality}"] = zipf.fitness(values, self.zipf_clusters)
            except ValueError as error:
                raise ValueError(f"Probe.zipf_clusters = {self.zipf_clusters}, {modality}: {error}") from None
        return scalars

    def _retrieval(self, graph, clips):
        scalars, compared = {}, comparisons(graph)
        if not compared and self.zipf_clusters:
            return scalars
        for name, first, second, space in compared:
            both = clips.present[first] & clips.present[second]
            if both.sum() < 2:
                continue  # such as text in records of AudioSet
            relevance = clips.relevance(both, by_text="text" in (first, second))
            chance = retrieval.chance(relevance, RECALLS)
            twin = name.removeprefix(f"{first}_{second}")  # the space, where one pair meets in several
            for query, target in ((first, second), (second, first)):
                sides = [clips.embeddings[modality, space][both] for modality in (query, target)]
                for measure, value in retrieval.retrieval(*sides, relevance, recalls=RECALLS).items():
                    label = f"retrieval/{query}_to_{target}{twin}/{measure.replace('MedR', 'median_rank')}"
                    scalars[label], scalars[f"{label}_chance"] = value, chance[measure]
                scalars[f"retrieval/{query}_to_{target}{twin}/clips"] = int(both.sum())
        if not scalars:
            raise ValueError(
                f"Probe.retrieval_data = {self.retrieval_data!r}: fewer than 2 clips have both modalities of any pair."
            )
        return scalars

    def _labels(self, side: str, clips: Clips) -> np.ndarray:
        """The label of each clip that counts, '' for none."""
        setting = f"Probe.labelled_{side} = {getattr(self, f'labelled_{side}')!r}"
        try:
            found = [
                one_label(key, names, self.label_prefix, "Probe.label_prefix") or ""
                for key, names in zip(clips.keys, clips.labels, strict=True)
            ]
        except ValueError as error:
            raise ValueError(f"{setting}: {error}") from None
        if not any(found):
            such = f" that begins with {self.label_prefix!r}" if self.label_prefix else ""
            raise ValueError(
                f"{setting}: none of its {len(found)} clips has a label{such}; give records with labels, or no "
                "Probe.labelled_train and Probe.labelled_test."
            )
        return np.array(found)

    def _knn(self, graph):
        sets = [self._clips("labelled_train"), self._clips("labelled_test")]
        # Labels are names: the two sets may number their classes in other orders.
        labels = [self._labels(side, clips) for side, clips in zip(("train", "test"), sets, strict=True)]
        coins = [control.coins(clips.keys) for clips in sets]
        scalars = {}
        for modality in (m for m in LABELLED_MODALITIES if m in graph.modalities):
            rows = [clips.present[modality] & (of_clips != "") for clips, of_clips in zip(sets, labels, strict=True)]
            if not all(kept.any() for kept in rows):
                continue  # such as frames in records of sound alone
            train, test = (c.embeddings[modality, "repr"][kept] for c, kept in zip(sets, rows, strict=True))
            tried = {"": [of_clips[kept] for of_clips, kept in zip(labels, rows, strict=True)]}
            flipped = [of_clips[kept] for of_clips, kept in zip(coins, rows, strict=True)]
            if len(set(flipped[0])) > 1:  # the coins of few clips can all lie alike
                tried["_control"] = flipped
            for name, (known, asked) in tried.items():
                try:
                    told = knn.accuracy(train, known, test, asked, num_neighbours=self.num_neighbours)
                except ValueError as error:
                    raise ValueError(f"Probe.labelled_train = {self.labelled_train!r}, {modality}: {error}") from None
                scalars[f"knn/{modality}{name}"] = told[0]
                if not name:
                    scalars[f"knn/{modality}_chance"], scalars[f"knn/{modality}_clips"] = told[1], len(asked)
        if not scalars:
            raise ValueError(
                f"Probe.labelled_train = {self.labelled_train!r} and Probe.labelled_test = {self.labelled_test!r}: "
                f"the labelled clips of the two have neither {' nor '.join(LABELLED_MODALITIES)} in common."
            )
        return scalars


def summary(scalars: Mapping[str, float]) -> str:
    """One line for the console: each R@1 and accuracy of a probe beside its chance, and Zipf's fitness."""
    shown = []
    for name, value in scalars.items():
        if name.endswith("/R@1") or name.startswith("probe/knn/") and not name.endswith(_BESIDE):
            what = name.removeprefix("probe/").removeprefix("retrieval/").replace("_to_", "->").replace("/", " ")
            coin = scalars.get(f"{name}_control")
            beside = "" if coin is None else f", a random label {coin:.1%}"
            shown.append(f"{what} {value:.1%} (chance {scalars[f'{name}_chance']:.1%}{beside})")
        elif name.startswith("probe/zipf/"):
            shown.append(f"zipf {name.removeprefix('probe/zipf/')} {value:.3f}")
    return "probe: " + ", ".join(shown)


def comparisons(graph) -> list[tuple[str, str, str, str]]:
    """(name, first, second, space): the pairs of a graph, and the modalities with a common space that no pair has.

    Where a graph compares views, their modalities stand for them, once for a space.
    """
    found, known = [], set()
    logits = {pair.space for pair in graph.pairs if pair.measured == "told"}  # by which nothing is found
    for pair in (pair for pair in graph.pairs if pair.space not in logits):
        first, second = graph.modalities_of(pair)
        is_plain = (first, second) == (pair.first, pair.second) and not pair.against
        if first == second or pair.second_space or (frozenset((first, second)), pair.space) in known:
            continue
        found.append((graph.pair_name(pair) if is_plain else f"{first}_{second}", first, second, pair.space))
        known.add((frozenset((first, second)), pair.space))
    spaces = {m: tuple(s for s in graph.spaces_of(m) if s not in logits) for m in graph.modalities}
    compared = {sides for sides, _ in known}
    for number, first in enumerate(graph.modalities):
        for second in graph.modalities[number + 1 :]:
            space = retrieval.common_space(first, second, spaces)
            if space and frozenset((first, second)) not in compared:
                found.append((f"{first}_{second}", first, second, space))
    return found
