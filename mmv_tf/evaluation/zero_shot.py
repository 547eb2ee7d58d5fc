"""Zero-shot retrieval: find the clip by its text and the reverse, with nothing trained on the data set."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, Positive, Strings
from mmv_tf.evaluation import protocol
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.windows import Windows
from mmv_tf.metrics import retrieval
from mmv_tf.metrics.classification import Measure

Direction = Literal["text->video", "video->text", "text->audio", "audio->text", "audio->video", "video->audio"]


@configurable
@dataclasses.dataclass
class ZeroShotRetrieval(protocol.Protocol):
    """Retrieval between modalities of the clips of one split (YouCook2, MSR-VTT); R@K in %, MedR a rank from 1.

    Every query is compared with all targets of its pool. A right target counts as behind the wrong ones of the same
    similarity (`mmv_tf.metrics.retrieval.ranks`).

    Args:
      records: folder of records.
      split: or several.
      prepare: the command that makes the records, for the message when they are missing.
      pairs: of 'text->video' (texts are queries), 'video->text', 'text->audio' and so on.
      space: in which to compare; '' is the one that the two modalities share with the fewest others.
      windows: of a clip, evenly spaced.
      average: 'embeddings': the mean of the windows' embeddings is the clip's; 'similarities': the mean of the windows'
        similarities is the clip's.
      measure: 'cosine', or 'dot' as in MIL-NCE.
      captions: texts of a clip that are used, at most, each a query or target of its own.
      same_text_is_right: a clip that has the very same text counts as right, too.
      pool_prefix: label that says in which pool a clip is searched, such as 'game:'; '' is one pool of all.
      recalls: the K of R@K.
      num_frames, frame_rate, min_side, crop_size: of a window of video.
      seconds: of a window of sound.
      examples: queries a pair that the result shows with what they found; drawn at random, however well they went.
    """

    records: str = ""
    split: Strings = "test"
    prepare: str = ""
    pairs: Sequence[Direction] = ("text->video", "video->text")
    space: str = ""
    windows: Count = 10
    average: Literal["embeddings", "similarities"] = "embeddings"
    measure: Literal["cosine", "dot"] = "cosine"
    captions: Count = 1
    same_text_is_right: bool = False
    pool_prefix: str = ""
    recalls: Sequence[Count] = (1, 5, 10)
    num_frames: Count = 32
    frame_rate: Positive = 10.0
    min_side: Count = 224
    crop_size: Count = 224
    seconds: Positive = 3.2
    examples: CountOrNone = 4

    @property
    def modalities(self):
        return tuple(dict.fromkeys(side for pair in self.pairs for side in pair.split("->")))

    def run(self, compared: protocol.Comparison, extractor: Extractor) -> protocol.Measured:
        networks, pattern = compared.trained_and_not(), protocol.split_pattern(self.records, self.split, self.prepare)
        spaces = {pair: self._space(pair, compared.network) for pair in self.pairs}
        sides = {}
        for modality, space in dict.fromkeys((side, spaces[pair]) for pair in self.pairs for side in pair.split("->")):
            wanted = {name: (network, space) for name, network in networks.items()}
            windows = self._windows(modality, compared.network.sample_rate)
            sides[modality, space] = extractor.extract(wanted, windows, pattern)
        outcomes, left_out, n, items = {name: {} for name in (*networks, "chance")}, {}, {}, []
        examples, stated, groups = [], {}, {}
        for pair in self.pairs:
            query, target = ((side, spaces[pair]) for side in pair.split("->"))
            first = [next(iter(sides[side].values())) for side in (query, target)]
            both = first[0].present.any(axis=1) & first[1].present.any(axis=1)
            left_out[pair] = int((~both).sum())
            if both.sum() < 2:
                raise ValueError(f"{pair}: {int(both.sum())} of {len(both)} clips have both; at least 2 are needed")
            pools = self._pools(first, sides, both)
            for name in networks:
                found = [self._ranks(sides[query][name], sides[target][name], rows) for rows in pools]
                outcomes[name][pair] = [np.concatenate(found).astype(np.uint32)]
            examples += self._examples(pair, sides[query]["network"], sides[target]["network"], pools)
            searched = [self._relevance(first[0], first[1], rows) for rows in pools]
            expected = [relevance for _, relevance in searched]
            outcomes["chance"][pair] = [_typical_ranks(expected)]
            groups[pair] = [np.array([row for (queries, _), _ in searched for row, _ in queries], np.uint32)]
            n[f"{pair} queries"] = sum(relevance.shape[0] for relevance in expected)
            n[f"{pair} targets"] = [relevance.shape[1] for relevance in expected]  # of each pool
            n.setdefault("test", int(both.sum()))
            stated[pair] = _in_words(pair, n[f"{pair} queries"], n[f"{pair} targets"])
            items += [f"{pair} {first[0].keys[row]}" for rows in pools for row in rows]
        notes = [
            f"average over {self.windows} windows: of {self.average}; similarity: {self.measure}; spaces: "
            + ", ".join(f"{pair} {space}" for pair, space in spaces.items()),
            *stated.values(),
        ]
        kinds = [*((f"R@{k}", f"recall@{k}") for k in self.recalls), ("MedR", "median")]
        reported = [Measure(f"{pair} {name}", pair, summary) for pair in self.pairs for name, summary in kinds]
        # The papers speak of R@10 first.
        reported.sort(key=lambda measure: measure.name != f"{self.pairs[0]} R@{max(self.recalls)}")
        folds = [{"name": protocol.named(self.split), "train": 0, "test": n["test"]}]
        return protocol.Measured(
            reported, outcomes, items, folds, {**n, "pools": len(pools)}, left_out, notes, examples, groups=groups
        )

    def _space(self, pair, network) -> str:
        first, second = pair.split("->")
        spaces = {modality: network.spaces(modality) for modality in network.outputs}
        for modality in (first, second):
            network.outputs_of(modality)
        space = self.space or retrieval.common_space(first, second, spaces)
        if not space or any(space not in spaces[modality] for modality in (first, second)):
            has = "; ".join(f"{modality}: {', '.join(spaces[modality])}" for modality in (first, second))
            raise ValueError(f"{pair} have no common space{f' {space!r}' if space else ''} in this network ({has})")
        return space

    def _windows(self, modality, sample_rate) -> Windows:
        if modality == "text":
            return Windows("text", self.captions)
        if modality == "audio":
            return Windows("audio", self.windows, seconds=self.seconds, sample_rate=sample_rate)
        video = dict(num_frames=self.num_frames, frame_rate=self.frame_rate, min_side=self.min_side)
        return Windows("video", self.windows, crop_size=self.crop_size, **video)

    def _pools(self, first, sides, both) -> list[np.ndarray]:
        """Indices of the clips that are searched together."""
        if not self.pool_prefix:
            return [np.flatnonzero(both)]
        labelled = next((next(iter(found.values())) for (m, _), found in sides.items() if m != "text"), first[0])
        named = {}
        for row in np.flatnonzero(both):
            names = [label for label in labelled.labels[row] if label.startswith(self.pool_prefix)]
            if len(names) != 1:
                raise ValueError(
                    f"clip {labelled.keys[row]!r} has {len(names)} labels that begin with {self.pool_prefix!r}; one is "
                    "needed, which says in which pool it is searched"
                )
            named.setdefault(names[0], []).append(row)
        alone = [name for name, rows in named.items() if len(rows) < 2]
        if alone:
            raise ValueError(f"there is one clip alone in the pool {alone[0]!r}: nothing can be searched in it")
        return [np.array(named[name]) for name in sorted(named)]

    def _relevance(self, queries, targets, rows):
        """(rows of the queries and of the targets with their windows, Relevance) of one pool.

        A caption is an item of its own; of other modalities an item is a clip.
        """
        sides = []
        for features in (queries, targets):
            if features is not None and self._is_text(features):
                sides.append([(row, c) for row in rows for c in np.flatnonzero(features.present[row])])
            else:
                sides.append([(row, None) for row in rows])
        if not self.same_text_is_right or not any(map(self._is_text, (queries, targets))):
            return sides, retrieval.Relevance.same_group(*([row for row, _ in side] for side in sides))
        text, other = (queries, 1) if self._is_text(queries) else (targets, 0)
        items, clips = sides[1 - other], sides[other]
        right = np.array([[i == j or text.labels[i][c] in text.labels[j] for j, _ in clips] for i, c in items])
        return sides, retrieval.Relevance(right if other == 1 else right.T)

    def _is_text(self, features) -> bool:
        return features.modality == "text"

    def _ranks(self, queries, targets, rows) -> np.ndarray:
        sides, relevance = self._relevance(queries, targets, rows)
        return retrieval.ranks(*map(self._embedded, (queries, targets), sides), relevance, measure=self._measure)

    def _examples(self, pair, queries, targets, pools) -> list[dict]:
        """Some queries with the nearest targets, best first, as the result keeps them."""
        drawn, found = np.random.default_rng(0), []
        for _ in range(self.examples):
            rows = pools[drawn.integers(len(pools))]
            (asked, among), relevance = self._relevance(queries, targets, rows)
            one = int(drawn.integers(len(asked)))
            query, right = self._embedding(queries, *asked[one]), relevance.rows(one, one + 1)[0]
            order = retrieval.nearest(query, self._embedded(targets, among), right, self._measure)
            best = [_shown(targets, *among[i]) | {"right": bool(right[i])} for i in order[:_FOUND]]
            rank = int(np.flatnonzero(right[order])[0]) + 1
            found.append({"pair": pair, "query": _shown(queries, *asked[one]), "found": best, "rank": rank})
        return found

    @property
    def _measure(self):
        # Of similarities: each window has been normalised already, if it is to be.
        return "dot" if self.average == "similarities" else self.measure

    def _embedded(self, features, items) -> np.ndarray:
        return np.stack([self._embedding(features, row, caption) for row, caption in items])

    def _embedding(self, features, row, caption):
        """Of a caption, or of a clip: the mean over its windows."""
        values = features.values[row, features.present[row]] if caption is None else features.values[row, [caption]]
        values = values.astype(np.float64)
        if self.average == "similarities" and self.measure == "cosine":
            norm = np.linalg.norm(values, axis=1, keepdims=True)
            values = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
        return values.mean(axis=0)


def _in_words(pair, queries: int, targets: list[int]) -> str:
    """Such as 'text->video: 1000 texts, each among 200 clips'."""
    asked, found = ("texts" if side == "text" else "clips" for side in pair.split("->"))
    least, most = min(targets), max(targets)
    among = f"{least}" if least == most else f"{least} to {most}"
    own = f" of its own pool ({len(targets)} pools)" if len(targets) > 1 else ""
    return f"{pair}: {queries} {asked}, each among {among} {found}{own}"


def _shown(features, row, caption) -> dict:
    return {"key": features.keys[row]} | ({} if caption is None else {"text": features.labels[row][caption]})


def _typical_ranks(relevances) -> np.ndarray:
    """Ranks whose recalls and median are those of a random order on average: quantiles of its distribution."""
    counts, levels = sum(r.shape[0] for r in relevances), []
    found = np.zeros(max(r.shape[1] for r in relevances))  # P(best rank <= k), over all queries
    for relevance in relevances:
        size = relevance.shape[1]
        ks = range(1, size + 1)
        chances = retrieval.chance(relevance, recalls=ks)
        share = np.array([chances[f"R@{k}"] for k in ks])
        found += np.pad(share, (0, len(found) - size), constant_values=1.0) * relevance.shape[0] / counts
    levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return (np.searchsorted(found, levels - 1e-12) + 1).astype(np.uint32)


_QUANTILES = 20_000
_FOUND = 4  # targets shown of an example
