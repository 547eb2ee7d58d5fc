"""From embeddings of held-out clips and sentences to retrieval figures and examples. No TensorFlow."""

import dataclasses

import numpy as np

from mmv_tf.metrics import retrieval

MODALITIES = ("video", "audio", "text")
PAIRS = ("video->audio", "audio->video", "text->video", "video->text", "audio->text", "text->audio")
NOT_SPACES = ("before_head", "last_conv")  # outputs of an export that are no embedding in a shared space

Embeddings = dict[str, dict[str, np.ndarray]]  # {modality: {space: [N, d]}}


@dataclasses.dataclass(frozen=True)
class Clip:
    """A held-out clip; seconds. `group` is its game or file; `left_out` says why it is not measured, or is ''."""

    number: int
    video: str
    group: str
    start: float
    end: float
    left_out: str = ""


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A held-out sentence and the group that it is about."""

    text: str
    group: str


def space_of(pair: str, embeddings: Embeddings) -> str | None:
    """The space in which a pair is compared, or None if there is none (see `retrieval.common_space`)."""
    return retrieval.common_space(*pair.split("->"), embeddings)


class Evaluation:
    """The pairs that can be compared, their relevance, and what each model makes of them.

    Args:
      embeddings: {model: {modality: {space: [N, d]}}}; N counts all clips, or all sentences for text. Models are
        'trained' and 'untrained', with the same spaces.
      clips, sentences: in the order of the embeddings. Clips that are left out are neither queries nor targets.
    Raises:
      ValueError: fewer than two clips to compare, or NaN in an embedding (names model, modality and space).
    """

    def __init__(self, embeddings: dict[str, Embeddings], clips: list[Clip], sentences: list[Sentence]):
        self.clips, self.sentences = [clip for clip in clips if not clip.left_out], sentences
        if len(self.clips) < 2:
            reasons = ", ".join(sorted({clip.left_out for clip in clips if clip.left_out})) or "none given"
            raise ValueError(f"{len(self.clips)} of {len(clips)} held-out clips can be compared (left out: {reasons})")
        keep = np.array([not clip.left_out for clip in clips])
        self._embeddings = {}
        for model, modalities in embeddings.items():
            for modality, spaces in modalities.items():
                for space, rows in spaces.items():
                    if not np.isfinite(rows).all():
                        raise ValueError(f"{model}: embeddings of {modality} in {space} hold NaN or Inf")
            self._embeddings[model] = {
                modality: {space: rows if modality == "text" else rows[keep] for space, rows in spaces.items()}
                for modality, spaces in modalities.items()
                if modality != "text" or sentences
            }
        first = next(iter(self._embeddings.values()))
        self.spaces = {pair: space_of(pair, first) for pair in PAIRS}
        self.pairs = [pair for pair in PAIRS if self.spaces[pair]]

    def side(self, modality: str) -> list:
        return self.sentences if modality == "text" else self.clips

    def relevance(self, pair: str) -> retrieval.Relevance:
        """Between clips: the same clip. With a text: the same group."""
        query, target = pair.split("->")
        if "text" not in (query, target):
            return retrieval.Relevance.same_index(len(self.clips))
        return retrieval.Relevance.same_group(
            [one.group for one in self.side(query)], [one.group for one in self.side(target)]
        )

    def _sides(self, pair: str, model: str) -> tuple[np.ndarray, np.ndarray]:
        query, target = pair.split("->")
        return (self._embeddings[model][query][self.spaces[pair]], self._embeddings[model][target][self.spaces[pair]])

    def metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """results.json: {pair: {'trained' | 'untrained' | 'chance': {'R@1', 'R@5', 'R@10', 'MedR'}}}; by cosine."""
        results = {}
        for pair in self.pairs:
            relevance = self.relevance(pair)
            results[pair] = {
                model: retrieval.retrieval(*self._sides(pair, model), relevance) for model in self._embeddings
            }
            results[pair]["chance"] = retrieval.chance(relevance)
        return results

    def same_group_first(self, pair: str) -> float:
        """Share of the queries of the trained model whose first find is of their group, be it the right one or not."""
        query, target = pair.split("->")
        queries, targets = self._sides(pair, "trained")
        groups = np.array([one.group for one in self.side(target)])
        first = groups[retrieval.similarity(queries, targets).argmax(axis=1)]
        return float(np.mean(first == np.array([one.group for one in self.side(query)])))

    def examples(self, pair: str, count: int, seed: int = 0, model: str = "trained", top: int = 5):
        """Queries drawn by a fixed seed, of different groups where possible, however well they went.

        Returns:
          list of (index of the query, [indices of the `top` targets, best first], rank of the best relevant one).
        """
        query, _ = pair.split("->")
        queries, targets = self._sides(pair, model)
        relevance = self.relevance(pair)
        ranks = retrieval.ranks(queries, targets, relevance)
        order = np.random.default_rng(seed).permutation(len(queries))
        groups = [self.side(query)[index].group for index in order]
        fresh = [index for place, index in enumerate(order) if groups[place] not in groups[:place]]
        chosen = (fresh + [index for index in order if index not in fresh])[:count]
        found = [retrieval.nearest(queries[i], targets, relevance.rows(i, i + 1)[0])[:top] for i in chosen]
        return [
            (int(index), [int(hit) for hit in hits], float(ranks[index]))
            for index, hits in zip(chosen, found, strict=True)
        ]
