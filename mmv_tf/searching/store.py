"""The folder of an index: files, windows and words in SQLite, vectors in segments beside it.

SQLite is the only truth. A segment is written whole before the transaction that names it, and never changed after: a
process that is killed leaves at most a segment that nobody names, which the next writer deletes. What is gone is a row
that is deleted; its vector stays until the segments are written anew.

Words are a table of ours and not FTS5: where TensorFlow is imported first, Python's sqlite3 finds the SQLite that is
inside of it, which has no FTS5.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmv_tf.common import files
from mmv_tf.searching.engines.two_stage import Rows, unit

VERSION = 2
DATABASE, SEGMENTS = "index.sqlite", "segments"

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, changed INTEGER NOT NULL,
    content TEXT NOT NULL, seconds REAL NOT NULL, reason TEXT NOT NULL, plays INTEGER NOT NULL, kind TEXT NOT NULL,
    spans BLOB NOT NULL,  -- float64 [windows, 5], so that a million of them are read at once: see Store.spans
    captions TEXT NOT NULL  -- what the files of captions beside it were when they were read
);
CREATE INDEX of_content ON files (content);
CREATE TABLE windows (
    id INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    start REAL NOT NULL, end REAL NOT NULL, picture BLOB NOT NULL
);
CREATE INDEX of_file ON windows (file, start);
CREATE TABLE narrations (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    start REAL, end REAL, text TEXT NOT NULL
);
CREATE INDEX narrations_of_file ON narrations (file);
CREATE TABLE words (
    word TEXT NOT NULL, narration INTEGER NOT NULL REFERENCES narrations (id) ON DELETE CASCADE,
    PRIMARY KEY (word, narration)
) WITHOUT ROWID;
CREATE INDEX words_of_narration ON words (narration);
CREATE TABLE remarks (  -- on captions: what was mended or left out, without a file what belongs to none
    file INTEGER REFERENCES files (id) ON DELETE CASCADE, path TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX remarks_of_file ON remarks (file);
CREATE TABLE labels (label TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (label, path)) WITHOUT ROWID;
CREATE TABLE segments (
    name TEXT PRIMARY KEY, modality TEXT NOT NULL, space TEXT NOT NULL, rows INTEGER NOT NULL
);
"""


class Window(NamedTuple):
    """A window of a file that is about to be stored; `vectors` are {(modality, space): float32 [d]}."""

    start: float
    end: float
    is_dark: bool
    is_silent: bool
    picture: bytes  # JPEG: frames side by side, or a spectrogram
    vectors: dict


class File(NamedTuple):
    """A file that is about to be stored. `reason` is '' unless it could not be read."""

    path: str
    size: int
    changed: int  # nanoseconds
    content: str  # identity of what it holds
    seconds: float
    reason: str
    plays: bool  # in a browser, as it is
    kind: str  # 'video' or 'sound'
    windows: Sequence[Window] = ()
    narrations: Sequence[tuple] = ()  # (start, end, text)
    captions: str = ""  # mark of the files that they were read from
    remarks: Sequence[tuple] = ()  # (path, reason, detail) on these files


class Store:
    """An opened index.

    Args:
      folder: of the index.
      settings: what it is made with, for a new one; an existing one must have the same ...
      more: ... and what may change from one time to the next.
    Raises:
      ValueError: there is no index, it is damaged, or it was made with other settings; says what to do.
    """

    def __init__(self, folder: str, settings: dict | None = None, more: dict | None = None):
        self.folder, self._lock = pathlib.Path(folder), threading.RLock()
        self.mirror = None  # what else holds the vectors, and follows: see engines.mirror
        path = self.folder / DATABASE
        if settings is None and not path.is_file():
            raise ValueError(
                f"{folder}: no index; make one with mmv_tf search index VIDEOS --module MODULE --index {folder}"
            )
        if settings is not None:
            (self.folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
        try:
            self.database = _connected(path) if settings is not None else _connected_to_read(path)
            if settings is not None:
                self.database.execute("PRAGMA journal_mode = WAL")
            self.database.execute("PRAGMA synchronous = FULL")
            self.database.execute("PRAGMA foreign_keys = ON")
            if not self.database.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                if settings is None:
                    raise ValueError(f"{folder}: no index in it")
                with self.transaction():
                    for statement in _SCHEMA.split(";"):
                        self.database.execute(statement)
                    self._set("version", VERSION)
                    self._set("settings", settings | (more or {}))
                    self._set("generation", 0)
        except sqlite3.DatabaseError as error:
            raise self._told(error) from None
        if self.get("version") != VERSION:
            raise ValueError(f"{folder}: of another version of mmv_tf; delete the folder and index again")
        self.settings = self.get("settings")
        if settings is not None:
            for name, value in settings.items():
                if self.settings.get(name) != value:
                    before = self.settings.get(name)
                    raise ValueError(
                        f"{folder}: was made with {name} {before!r}, not {value!r}: take another --index, or delete it"
                    )
            self.settings |= more or {}
            with self.transaction():
                self._set("settings", self.settings)

    def close(self):
        self.database.close()

    @contextlib.contextmanager
    def transaction(self):
        """All or nothing; and a new generation, by which readers see that something has changed."""
        with self._lock:
            try:
                self.database.execute("BEGIN IMMEDIATE")
                yield
                self.database.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'generation'")
                self.database.execute("COMMIT")
            except BaseException as error:
                if self.database.in_transaction:  # a full disk has ended it already
                    self.database.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise self._told(error) from None
                raise

    def _told(self, error):
        """An error of SQLite as one line that says what to do; what only a fault of ours makes stays as it is."""
        path, code = self.folder / DATABASE, _code(error)
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return ValueError(f"{path}: damaged, or no index ({error}); delete the folder and index again")
        return ValueError(f"{path}: {error}") if isinstance(error, sqlite3.OperationalError) else error

    def get(self, name):
        rows = self.rows("SELECT value FROM meta WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows else None

    def _set(self, name, value):
        self.database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))

    def rows(self, statement, *values) -> list[tuple]:
        try:
            with self._lock:
                return self.database.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._told(error) from None

    @property
    def generation(self) -> int:
        return self.get("generation")

    def put(self, batch: Sequence[File], gone: Sequence[str] = ()) -> None:
        """Stores files, each in place of what was there under its path, and removes others: all or nothing."""
        first = self.rows("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'windows'")[0][0] + 1
        vectors, number = {}, first
        for file in batch:
            for window in file.windows:
                for key, vector in window.vectors.items():
                    vectors.setdefault(key, ([], []))[0].append(number)
                    vectors[key][1].append(vector)
                number += 1
        written, keys = [], set(vectors)
        for key, (ids, rows) in vectors.items():
            written.append(self._write(key, np.array(ids, np.int64), np.stack(rows)))
            if self.mirror:  # before anybody may look for them
                self.mirror.add(key, np.array(ids, np.int64), unit(np.stack(rows)).astype(np.float16))
        removed = [*gone, *(file.path for file in batch)]
        old = self._windows_of(removed) if self.mirror else ()
        with self.transaction():
            for path in removed:
                self.database.execute("DELETE FROM files WHERE path = ?", (path,))
            number = first
            for file in batch:
                spans = [(number + n, *window[:4]) for n, window in enumerate(file.windows)]
                spans = np.array(spans, np.float64).tobytes()
                values = (*file[:6], int(file.plays), file.kind, spans, file.captions)
                columns = "path, size, changed, content, seconds, reason, plays, kind, spans, captions"
                marks = ", ".join("?" * len(values))
                cursor = self.database.execute(f"INSERT INTO files ({columns}) VALUES ({marks})", values)
                of_file = cursor.lastrowid
                for window in file.windows:
                    self.database.execute(
                        "INSERT INTO windows VALUES (?, ?, ?, ?, ?)",
                        (number, of_file, window.start, window.end, window.picture),
                    )
                    number += 1
                self._say(of_file, file.narrations, file.remarks)
            self.database.executemany("INSERT INTO segments VALUES (?, ?, ?, ?)", written)
        if len(old):
            self.mirror.remove(keys | {key for key, _, _ in self.segments()}, old)

    def _windows_of(self, paths):
        found = []
        for path in paths:
            found += self.rows("SELECT w.id FROM windows w JOIN files f ON f.id = w.file WHERE f.path = ?", path)
        return np.array([number for (number,) in found], np.int64)

    def _say(self, of_file, narrations, remarks):
        for narration in narrations:
            statement = "INSERT INTO narrations (file, start, end, text) VALUES (?, ?, ?, ?)"
            said = self.database.execute(statement, (of_file, *narration)).lastrowid
            words = [(word, said) for word in words_of(narration[2])]
            self.database.executemany("INSERT INTO words VALUES (?, ?)", words)
        rows = [(of_file, *remark) for remark in remarks]
        self.database.executemany("INSERT INTO remarks VALUES (?, ?, ?, ?)", rows)

    def say(self, path: str, captions: str, narrations: Sequence[tuple], remarks: Sequence[tuple]) -> None:
        """Gives a file other narrations; arguments as in File."""
        with self.transaction():
            ((of_file,),) = self.database.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchall()
            self.database.execute("UPDATE files SET captions = ? WHERE id = ?", (captions, of_file))
            for table in ("narrations", "remarks"):
                self.database.execute(f"DELETE FROM {table} WHERE file = ?", (of_file,))
            self._say(of_file, narrations, remarks)

    def remark(self, remarks: Sequence[tuple]) -> None:
        """Stores the (path, reason, detail) of what belongs to no file, in place of those that are there."""
        before = self.rows("SELECT path, reason, detail FROM remarks WHERE file IS NULL ORDER BY path")
        if before != (now := sorted(remarks)):
            with self.transaction():
                self.database.execute("DELETE FROM remarks WHERE file IS NULL")
                self.database.executemany("INSERT INTO remarks VALUES (NULL, ?, ?, ?)", now)

    def label(self, labels: Sequence[tuple[str, str]]) -> None:
        """Stores (label, path) of files, which need not be there (yet), in place of all that are there."""
        if self.rows("SELECT label, path FROM labels ORDER BY label, path") != (now := sorted(set(labels))):
            with self.transaction():
                self.database.execute("DELETE FROM labels")
                self.database.executemany("INSERT INTO labels VALUES (?, ?)", now)

    def move(self, before: str, after: str, changed: int) -> None:
        """Gives a file another path."""
        with self.transaction():
            self.database.execute("DELETE FROM files WHERE path = ?", (after,))
            self.database.execute("UPDATE files SET path = ?, changed = ? WHERE path = ?", (after, changed, before))

    def _write(self, key, ids, vectors):
        """Writes a segment: ids int64 [n] and unit vectors float16 [n, d]. Returns its row of the table."""
        name = f"{uuid.uuid4().hex}"
        with files.whole_file(self.folder / SEGMENTS / f"{name}.ids.npy") as partial, open(partial, "wb") as file:
            np.save(file, ids)
            _to_disk(file)
        with files.whole_file(self.folder / SEGMENTS / f"{name}.npy") as partial, open(partial, "wb") as file:
            np.save(file, unit(vectors).astype(np.float16))
            _to_disk(file)
        return name, *key, len(ids)

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """(ids of files int64 [n], float64 [n, 5]: id, start, end, is dark, is silent) of all windows, by their ids."""
        rows = self.rows("SELECT id, spans FROM files")
        table = np.frombuffer(b"".join(spans for _, spans in rows), np.float64).reshape(-1, 5)
        files_of = np.repeat(
            np.array([number for number, _ in rows], np.int64), [len(spans) // 40 for _, spans in rows]
        )
        order = np.argsort(table[:, 0], kind="stable")
        return files_of[order], table[order]

    def first_stage(self, key) -> "FirstStage":
        """What an Engine keeps of the segments of a modality and space, in their order."""
        statement = "SELECT name FROM segments WHERE modality = ? AND space = ? AND rows > 0 ORDER BY rowid"
        return FirstStage(self.folder / SEGMENTS, key, [name for (name,) in self.rows(statement, *key)])

    def segments(self) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray]]:
        """((modality, space), ids int64 [n], unit vectors float16 [n, d], mapped from the disk) of each segment."""
        for name, modality, space, rows in self.rows("SELECT name, modality, space, rows FROM segments ORDER BY rowid"):
            path = self.folder / SEGMENTS / name
            try:
                ids, vectors = np.load(f"{path}.ids.npy"), np.load(f"{path}.npy", mmap_mode="r")
            except (OSError, ValueError) as error:
                raise ValueError(f"{path}: a segment is gone or damaged ({error}); index again") from None
            if len(ids) != rows or len(vectors) != rows:
                raise ValueError(f"{path}: a segment of {len(vectors)} rows that should have {rows}; index again")
            yield (modality, space), ids, vectors

    def tidy(self) -> None:
        """Writes many small or half empty segments as one, and deletes those that nobody names."""
        live = np.array([number for (number,) in self.rows("SELECT id FROM windows ORDER BY id")], np.int64)
        by_key = {}
        for key, ids, vectors in self.segments():
            by_key.setdefault(key, []).append((ids, vectors))
        for key, parts in by_key.items():
            ids = np.concatenate([one for one, _ in parts])
            kept = np.isin(ids, live)
            if len(parts) <= 16 and kept.mean() >= 0.5:
                continue
            vectors = np.concatenate([one for _, one in parts])
            row = self._write(key, ids[kept], vectors[kept].astype(np.float32)) if kept.any() else None
            with self.transaction():
                self.database.execute("DELETE FROM segments WHERE modality = ? AND space = ?", key)
                if row:
                    self.database.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", row)
        if self.mirror:
            self._mend_mirror(live)
        named = {name for (name,) in self.rows("SELECT name FROM segments")}
        for path in (self.folder / SEGMENTS).iterdir():
            if path.name.partition(".")[0] not in named and not path.name.startswith("basis-"):
                path.unlink(missing_ok=True)

    def _mend_mirror(self, live):
        """Puts right what a kill left in the mirror; all that lives is there anyway, so that a look at numbers does."""
        by_key = {}
        for key, ids, vectors in self.segments():
            by_key.setdefault(key, []).append((ids, vectors))
        self.mirror.drop_others(by_key)
        for key, parts in by_key.items():
            every = np.concatenate([ids for ids, _ in parts])
            rows = Rows([vectors for _, vectors in parts])
            kept = np.flatnonzero(np.isin(every, live))
            kept = kept[np.argsort(every[kept], kind="stable")]
            self.mirror.mend(key, every[kept], lambda places, rows=rows, kept=kept: rows.rows(kept[places]))


class FirstStage:
    """Files beside the segments of one modality and space: rows of the first stage of a search, and their basis.

    They are made of the segments, and made again where they do not fit or cannot be written.
    """

    def __init__(self, folder: pathlib.Path, key: tuple[str, str], names: Sequence[str]):
        self._folder, self._names, self._basis_path = folder, names, folder / f"basis-{'.'.join(key)}.npy"
        self._mark = ""

    def basis(self, dim: int):
        """float32 [dim, n], or None."""
        basis = _loaded(self._basis_path)
        if basis is None or basis.ndim != 2 or len(basis) != dim or basis.dtype != np.float32:
            return None
        self._mark = hashlib.sha256(basis.tobytes()).hexdigest()[:16]
        return basis

    def keep_basis(self, basis: np.ndarray) -> None:
        self._mark = hashlib.sha256(basis.tobytes()).hexdigest()[:16]
        self._keep(self._basis_path, basis)

    def rows(self, number: int, count: int):
        """float32 [count, n] of a segment, or None."""
        rows = _loaded(self._path(number))
        return rows if rows is not None and rows.ndim == 2 and len(rows) == count else None

    def keep_rows(self, number: int, rows: np.ndarray) -> None:
        self._keep(self._path(number), rows)

    def _path(self, number):
        return self._folder / f"{self._names[number]}.first-{self._mark}.npy"

    def _keep(self, path, array):
        with contextlib.suppress(OSError):  # a folder that only others may write: then it is made each time
            with files.whole_file(path) as partial, open(partial, "wb") as file:
                np.save(file, array)


def _code(error):
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to it


def _connected(where, **more):
    # The page answers in several threads; each uses the connection under SQLite's own lock.
    return sqlite3.connect(where, check_same_thread=False, isolation_level=None, timeout=30, **more)


def _connected_to_read(path):
    """A connection also where nothing may be written: then SQLite cannot make the files that it reads with others by.

    Raises:
      ValueError: changes lie beside it that were never taken in, which reading it alone would pass over.
    """
    database = _connected(path)
    try:
        database.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        database.close()
        if _code(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        waiting = path.with_name(f"{path.name}-wal")
        if waiting.exists() and waiting.stat().st_size:
            what = "holds changes that were not taken in yet, which needs a folder that may be written: ask there once"
            raise ValueError(f"{waiting}: {what}") from None
        return _connected(f"{path.absolute().as_uri()}?immutable=1", uri=True)
    return database


def _loaded(path):
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def words_of(text: str) -> set[str]:
    """The words of a text as they are looked for."""
    return set(re.findall(r"\w+", text.casefold()))


def _to_disk(file):
    file.flush()
    os.fsync(file.fileno())
