"""The index as programs use it: Index.open(FOLDER).query(text="a dog barks", k=10)."""

import dataclasses
import functools
import math
import os
import re
import threading
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from mmv_tf.searching import engines, moments, selection
from mmv_tf.searching.engines.two_stage import unit
from mmv_tf.searching.moments import Candidate
from mmv_tf.searching.selection import Filter, Windows
from mmv_tf.searching.store import Store

PER_FILE = 3  # moments of one file, unless more are asked for
_CANDIDATES = 1000  # windows of a way of searching that become moments
_FOLDED = 300  # moments that are compared with each other
_NEARLY_EQUAL = 0.995  # cosine of two windows of different files from which on they are one
# Of what a question is joined from, unless other weights are asked for; one thing alone needs none.
WEIGHTS = {"text": 0.5, "image": 1.0, "sound": 1.0, "video": 1.0, "like": 1.0, "unlike": 0.5}

_SHOWN = {"video": "picture", "audio": "sound"}  # how a person calls what is searched

Target = Literal["video", "audio", "both"]


@dataclasses.dataclass(frozen=True)
class Hit:
    """A moment. `score` is a cosine (None where only words were found), `percentile` its place among all windows."""

    id: int  # of the window
    file: str
    start: float
    end: float
    score: float | None
    percentile: float | None
    matched: tuple[str, ...]  # 'picture', 'sound', 'words'
    file_id: int
    kind: str
    plays: bool
    words: str = ""  # that were found
    also_in: tuple[str, ...] = ()  # files with nearly the same moment


class Results(NamedTuple):
    """What a query found. `notes` says what a person should know of it: pairs that were not trained, words that are not
    known, nothing that stands out."""

    hits: list[Hit]
    total: int  # moments that there are to page through
    is_exact: bool
    stands_out: bool
    notes: list[str]


class _Part(NamedTuple):
    """What a question is joined from; several may be of one modality."""

    modality: str
    spaces: dict  # {space: vector}
    weight: float


class _Way(NamedTuple):
    """What one way of searching has found."""

    name: str  # as in Hit.matched
    moments: list[Candidate]  # the best first
    scores: dict[int, float]  # {window: cosine}, also of those that are no moment of their own; none of words
    sample: np.ndarray  # cosines that say what is usual
    is_exact: bool
    stands_out: bool


class Index:
    """An opened index; see `open`. May be used by several threads."""

    def __init__(self, store: Store, embedder=None, allow_file_operations: bool = False):
        self.store, self._embedder, self._allow = store, embedder, allow_file_operations
        self._lock, self._generation = threading.RLock(), None

    @classmethod
    def open(
        cls,
        folder: str,
        module: str | None = None,
        allow_file_operations: bool = False,
        engine: str | None = None,
        uri: str | None = None,
    ) -> "Index":
        """Opens an index; its module is loaded when first asked.

        Args:
          module: where the module lies now, if not where it was when the index was made.
          engine: that the index must have been made with; None for any.
          uri: where its Milvus is now.
        Raises:
          ValueError: no index, another module or engine than it was made with, or one that is not installed.
        """
        index = cls(Store(folder), allow_file_operations=allow_file_operations)
        index.store.settings |= engines.settings(engine, uri, index.store.settings)
        if module:
            index.store.settings["module_folder"] = os.path.abspath(module)
        return index

    @functools.cached_property
    def embedder(self):
        if self._embedder is not None:
            return self._embedder
        from mmv_tf.searching.embedder import Embedder

        folder = self.store.settings["module_folder"]
        if not os.path.isdir(folder):
            raise ValueError(f"{folder}: the module of this index is gone; say with --module where it is")
        embedder = Embedder(folder, self._allow)
        if embedder.checksum != self.store.settings["module"]:
            raise ValueError(f"{folder}: is not the module that this index was made with; index again")
        return embedder

    @property
    def modalities(self) -> list[str]:
        """What can be asked with."""
        return self.store.settings["queries"]

    def close(self):
        self.store.close()

    def _now(self):
        """The engines and windows of the newest generation."""
        with self._lock:
            generation = self.store.generation
            if generation != self._generation:
                try:
                    self._read()
                except ValueError:  # segments were written anew in this moment
                    self._read()
                self._generation = generation
            return self._engines, self._windows

    def _read(self):
        self._windows = windows = Windows.of(self.store)
        by_key = {}
        for key, ids, vectors in self.store.segments():
            by_key.setdefault(key, []).append((ids, vectors))
        self._engines = {}
        for key, parts in by_key.items():
            ids = np.concatenate([one for one, _ in parts])
            place = np.minimum(np.searchsorted(windows.ids, ids), max(0, len(windows.ids) - 1))
            is_live = windows.ids[place] == ids if len(windows.ids) else np.zeros(len(ids), bool)
            vectors = [vectors for _, vectors in parts]
            kept = self.store.first_stage(key)
            self._engines[key] = engines.opened(self.store.settings, key, vectors, ids, is_live, kept), place

    def query(
        self,
        text: str = "",
        *,
        image: str | bytes | os.PathLike | None = None,
        sound: str | bytes | os.PathLike | None = None,
        video: str | bytes | os.PathLike | None = None,
        span: tuple | Mapping[str, tuple] = (0.0, None),
        like: int | None = None,
        unlike: int | None = None,
        vectors: dict | None = None,
        weights: Mapping[str, float] | None = None,
        within: Target = "both",
        k: int = 20,
        offset: int = 0,
        per_file: int = PER_FILE,
        only: Filter | None = None,
    ) -> Results:
        """The moments that are nearest to a question.

        Args:
          text: words; searched for by meaning, if the module has text, and as words in narrations and names.
          image, sound, video: path of a file, in bytes or not.
          span: of a sound or video, seconds; {'sound': (a, b), 'video': (c, d)} where they are asked with together.
          like: id of a window, whose likes are wanted; unlike: of one whose likes are not.
          vectors: {modality: {space: vector}} of a question that was embedded before.
          weights: of what is asked with together, by the names of WEIGHTS, which are taken where one is not given; the
            directions of all are added up, each times its weight.
          within: which of picture and sound is searched.
          k, offset: how many moments, and after how many.
          per_file: most moments of one file.
          only: what a hit must be; None for anything.
        Raises:
          ValueError: nothing is asked, it cannot be embedded, or a weight is of what is not asked; says why.
        """
        opened, windows = self._now()
        files, vectors = {"image": image, "sound": sound, "video": video}, vectors or {}
        notes: list[str] = []
        kinds = {modality: modality for modality in vectors}
        if "audio" in kinds:
            kinds["audio"] = "video" if "video" in kinds else "sound"
        weights = _weights(weights or {}, {"text": text, **files, "like": like, "unlike": unlike}
                                          | {kind: True for kind in kinds.values()})  # fmt: skip
        text = text if weights["text"] else ""
        words = list(dict.fromkeys(re.findall(r"\w+", text)))
        asked = [(kinds[modality], {modality: spaces}) for modality, spaces in vectors.items()]
        asked += self._embedded(text, files, span, notes)
        if like is not None:
            found = self._of_window(like)
            asked.append(("like", {name: spaces for name, spaces in found.items() if within in (name, "both")}))
        parts = [_Part(modality, spaces, weights[kind]) for kind, found in asked if weights[kind]
                 for modality, spaces in found.items()]  # fmt: skip
        if not parts and not words:
            raise ValueError("nothing is asked: give a text, a picture, a sound, a video or a moment")
        allowed = selection.allowed(self.store, only, windows) if only else None
        ways, said = [], {}
        targets = [target for target in ("video", "audio") if within in (target, "both")]
        for target, space, vector in self._comparisons(parts, targets, notes):
            if unlike is not None:
                vector = self._away_from(unlike, weights["unlike"], vector, target, space)
            engine, place = opened.get((target, space), (None, None))
            if engine is None or not engine.num_live:
                continue
            found = engine.search(vector, _CANDIDATES, None if allowed is None else engine.is_live & allowed[place])
            ways.append(_way(target, found, place, windows, like, per_file))
        if words and like is None:
            found = selection.with_words(self.store, _few_words(words, notes), windows, allowed)
            said = {one.window: text for one, text in found}
            if found:
                distinct = moments.distinct([one for one, _ in found], max(per_file, 1))
                ways.append(_Way("words", list(distinct), {}, np.zeros(0), is_exact=True, stands_out=True))
        ranked = list(_few_of_a_file(moments.fused([way.moments for way in ways]), per_file))
        stands_out = any(way.stands_out for way in ways)
        if ranked and not stands_out:
            notes.append("nothing stands out: these are the nearest, and may have nothing to do with it")
        folded = self._folded(ranked, opened, windows)
        hits = [
            self._hit(one, [ways[n] for n in found_by], said.get(one.window, ""), also)
            for one, found_by, also in folded[offset : offset + k]
        ]
        is_exact = all(way.is_exact for way in ways)
        return Results([hit for hit in hits if hit], len(folded), is_exact, stands_out, notes)

    def _embedded(self, text, files, span, notes):
        """[(name in WEIGHTS, {modality: {space: vector}})] of the text and the files of a question."""
        found = []
        if text and "text" in self.modalities:
            try:
                found.append(("text", {"text": self.embedder.of_text(text)}))
            except ValueError as error:
                notes.append(str(error))
        elif text:
            notes.append("this module has no text: only words in narrations and names of files are searched")
        for kind, path in files.items():
            if path is not None:
                of_kind = span.get(kind, (0.0, None)) if isinstance(span, Mapping) else span
                found.append((kind, self.embedder.of_file(kind, os.path.abspath(os.fsdecode(path)), of_kind)))
        return found

    def _away_from(self, number, weight, vector, target, space):
        """The vector of a question less that of a window, times its weight."""
        other, share = self._of_window(number).get(target, {}).get(space), 1 / max(1.0, weight)
        if other is None:
            return vector
        return share * vector - share * weight * unit(other)  # the larger of the two counts 1: float32 ends at 3e38

    def _comparisons(self, parts, targets, notes):
        """[(target, space, vector)] that a question is compared by.

        Where both picture and sound may be searched, and but one was compared with it in training, it is that one.
        """
        found = [(target, *compared) for target in targets if (compared := self._vector(parts, target))]
        trained = [one for one in found if not one[-1]]
        for target, _, _, untrained in found:
            if untrained and trained:
                notes.append(f"{_SHOWN[target]} is left out: {untrained} was never compared with it in training")
            elif untrained:
                notes.append(f"{untrained} was never compared with {_SHOWN[target]} in training: expect little")
        return [(target, space, vector) for target, space, vector, _ in trained or found]

    def _vector(self, parts, target):
        """(space, vector, a modality that was never compared with the target or '') of a question, or None.

        The weighted sum of directions where it has several parts.
        """
        usable = []
        for part in parts:
            space = self.embedder.common_space(part.modality, target)
            if space is not None and space in part.spaces:
                usable.append((part, space))
        if not usable:
            return None
        # All in the one space that most of them have; of a picture and a text that is the text's.
        space = min((one for _, one in usable), key=lambda one: sum(one not in part.spaces for part, _ in usable))
        mine = [part for part, _ in usable if space in part.spaces]
        untrained = [part.modality for part in mine if self.embedder.was_trained(part.modality, target) is False]
        most = max(part.weight for part in mine)  # only the ratio counts, and float32 ends at 3e38
        vector = sum(part.weight / most * unit(part.spaces[space]) for part in mine)
        return space, unit(vector), untrained[0] if len(untrained) == len(mine) else ""

    def _of_window(self, number):
        """{modality: {space: vector}} of a window of the index. ValueError: there is none of this number."""
        opened, windows = self._now()
        found = {}
        for (modality, space), (engine, place) in opened.items():
            rows = np.flatnonzero((windows.ids[place] == number) & engine.is_live) if engine.num_live else []
            if len(rows):
                found.setdefault(modality, {})[space] = engine.rows(rows[-1:])[0]
        if not found:
            raise ValueError(f"there is no moment {number} in the index (any more)")
        return found

    def _hit(self, one, ways, words, also):
        rows = self.store.rows(
            "SELECT f.path, f.id, f.kind, f.plays FROM windows w JOIN files f ON f.id = w.file WHERE w.id = ?",
            one.window,
        )
        if not rows:  # gone since
            return None
        path, file_id, kind, plays = rows[0]
        score = percentile = None
        for way in ways:
            value = way.scores.get(one.window)
            if value is not None and (score is None or value > score):
                score, percentile = float(value), moments.percentile(value, way.sample)
        return Hit(
            one.window, path, one.start, one.end, None if score is None else min(1.0, round(score, 4)), percentile,
            tuple(way.name for way in ways), file_id, kind, bool(plays), words[:300],
            tuple(name for n in also for (name,) in self.store.rows("SELECT path FROM files WHERE id = ?", n)),
        )  # fmt: skip

    def _folded(self, ranked, opened, windows):
        """[(Candidate, ways, files with nearly the same window)]: of nearly equal ones in different files the first."""
        key = next((key for key in opened if key[0] == "video"), None) or next(iter(opened), None)
        looked_at = ranked[:_FOLDED]
        if key is None or len(looked_at) < 2:
            return [(one, ways, []) for one, ways in ranked]
        engine, place = opened[key]
        row_of = np.full(len(windows.ids), -1, np.int64)
        row_of[place[engine.is_live]] = np.flatnonzero(engine.is_live)
        rows = row_of[np.searchsorted(windows.ids, [one.window for one, _ in looked_at])]
        vectors = engine.rows(np.maximum(rows, 0)) * (rows >= 0)[:, None]
        kept, numbers = [], []
        for number, (one, ways) in enumerate(looked_at):
            likeness = vectors[numbers] @ vectors[number] if numbers else np.zeros(0)
            twins = [n for n in np.flatnonzero(likeness > _NEARLY_EQUAL) if kept[n][0].file != one.file]
            if not twins:
                kept.append((one, ways, []))
                numbers.append(number)
            elif one.file not in kept[twins[0]][2]:
                kept[twins[0]][2].append(one.file)
        return kept + [(one, ways, []) for one, ways in ranked[_FOLDED:]]


def _way(target, found, place, windows, like, per_file):
    """The _Way of picture or sound.

    Args:
      found: by the engine; `place` is that of its rows among the windows.
      like: the window that was asked with, which is no answer, or None.
    """
    is_poor = (windows.is_dark if target == "video" else windows.is_silent)[place[found.rows]]
    order = np.argsort(is_poor, kind="stable")  # black pictures and silence match everything
    order = order[windows.ids[place[found.rows[order]]] != like]
    rows, values = found.rows[order], found.scores[order]
    ranking = [windows.candidate(place[row], value) for row, value in zip(rows, values, strict=True)]
    return _Way(
        _SHOWN[target],
        list(moments.distinct(ranking, max(per_file, 1))),
        {one.window: one.score for one in ranking},
        found.sample,
        found.is_exact,
        bool(len(values)) and moments.stands_out(float(values[0]), found.sample),
    )


def _few_words(words, notes):
    """The words that are searched for, as one string."""
    if len(words) > selection.MOST_WORDS:
        first = f"the first {selection.MOST_WORDS} of {len(words)} words"
        notes.append(f"narrations and names of files are searched for {first} only")
    return " ".join(words[: selection.MOST_WORDS])


def _weights(given, asked):
    """Weights by the names of WEIGHTS. ValueError: no such name, no such number, or of something not asked with."""
    for name, value in given.items():
        if name not in WEIGHTS:
            raise ValueError(f"weights: {name!r} is none of {', '.join(WEIGHTS)}")
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"weights: {name}={value}: a number from 0")
        if asked.get(name) in (None, ""):
            raise ValueError(f"weights: {name}={value:g}, and no {name} is asked with")
    return WEIGHTS | dict(given)


def weights_of(text: str) -> dict[str, float]:
    """{'text': 1.0, 'image': 0.5} of 'text=1,image=.5'. ValueError: it is not of this form."""
    found = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ValueError(f"weights: {part[:50]!r} is not of the form text=1,image=.5") from None
    return found


def _few_of_a_file(ranked, per_file):
    counts = {}
    for one, found_by in ranked:
        counts[one.file] = counts.get(one.file, 0) + 1
        if counts[one.file] <= per_file:
            yield one, found_by
