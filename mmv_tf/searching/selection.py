"""Windows by what is known of their files, and by words: filters, and the narrations and names that hold a word."""

import dataclasses
import datetime
import re
from typing import NamedTuple

import numpy as np

from mmv_tf.searching.moments import Candidate
from mmv_tf.searching.store import Store, words_of

KINDS = ("video", "sound")
MOST_WORDS = 100  # that are looked for; SQLite takes no more than 1,000 conditions


@dataclasses.dataclass(frozen=True)
class Filter:
    """What a hit must be: below a folder, with a text in its path, changed between times, so long, of a kind, with a
    label."""

    folder: str = ""
    name: str = ""
    after: float | None = None  # seconds since 1970
    before: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    kind: str = ""  # one of KINDS
    label: str = ""  # of the table that the index was made with (search index --labels)

    def __bool__(self):
        return self != Filter()


def moment_of(option: str, text: str) -> float:
    """Seconds since 1970 of a date (2024-05-01) or time (2024-05-01T12:30), of this place.

    Raises:
      ValueError: it is none; names the option.
    """
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{option} {text}: no date, such as 2024-05-01 or 2024-05-01T12:30") from None


class Windows(NamedTuple):
    """The live windows, in the order of their ids: arrays of one length."""

    ids: np.ndarray
    files: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    is_dark: np.ndarray
    is_silent: np.ndarray

    @classmethod
    def of(cls, store: Store) -> "Windows":
        """Those of an index."""
        files, table = store.spans()
        spans = (np.ascontiguousarray(table[:, column]) for column in (1, 2))
        return cls(table[:, 0].astype(np.int64), files, *spans, table[:, 3] > 0, table[:, 4] > 0)

    def candidate(self, place, score) -> Candidate:
        return Candidate(
            int(self.ids[place]),
            int(self.files[place]),
            float(self.starts[place]),
            float(self.ends[place]),
            float(score),
        )

    def at(self, file, seconds, allowed) -> int | None:
        """The place of the window of a file whose middle is nearest to a time."""
        places = np.flatnonzero(self.files == file)
        if not len(places) or allowed is not None and not allowed[places[0]]:
            return None
        middles = (self.starts[places] + self.ends[places]) / 2
        return int(places[np.argmin(np.abs(middles - seconds))])


def allowed(store: Store, only: Filter, windows: Windows) -> np.ndarray:
    """bool [windows]: those whose files a filter lets through."""
    clauses, values = [], []
    for value, clause in (
        (_like(only.folder.rstrip("/") + "/") + "%" if only.folder else None, "path LIKE ? ESCAPE '\\'"),
        (f"%{_like(only.name)}%" if only.name else None, "path LIKE ? ESCAPE '\\'"),
        (only.after, "changed >= ? * 1e9"),
        (only.before, "changed < ? * 1e9"),
        (only.min_seconds, "seconds >= ?"),
        (only.max_seconds, "seconds <= ?"),
        (only.kind or None, "kind = ?"),
        (only.label or None, "path IN (SELECT path FROM labels WHERE label = ?)"),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    rows = store.rows(f"SELECT id FROM files WHERE {' AND '.join(clauses)}", *values)
    return np.isin(windows.files, np.array([number for (number,) in rows], np.int64))


def with_words(store: Store, words: str, windows: Windows, is_allowed) -> list[tuple[Candidate, str]]:
    """(Candidate, the words as they stand there) of narrations and names of files that hold all of some words."""
    terms, found = sorted(words_of(words)), []
    rows = store.rows(
        "SELECT n.file, n.start, n.text FROM narrations n JOIN words w ON w.narration = n.id "
        f"WHERE w.word IN ({', '.join('?' * len(terms))}) GROUP BY n.id HAVING COUNT(*) = ? "
        "ORDER BY LENGTH(n.text), n.id LIMIT 200",
        *terms,
        len(terms),
    )
    for file, start, text in rows:
        if (one := windows.at(file, start or 0.0, is_allowed)) is not None:
            found.append((windows.candidate(one, 0.0), text))
    like = [f"%{_like(word)}%" for word in words.split()]
    clause = " AND ".join(["path LIKE ? ESCAPE '\\'"] * len(like))
    for file, path in store.rows(f"SELECT id, path FROM files WHERE {clause} ORDER BY path LIMIT 50", *like):
        if (one := windows.at(file, 0.0, is_allowed)) is not None:
            found.append((windows.candidate(one, 0.0), path))
    return found


def _like(text):
    return re.sub(r"([%_\\])", r"\\\1", text)
