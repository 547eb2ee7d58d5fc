"""Remarks: all that was mended or left out beside the clips, with the name and line of each."""

import collections
import contextlib
from typing import NamedTuple

from mmv_tf.common.paths import by_ending
from mmv_tf.records.card import Remark

MOST_NAMED = 10_000  # of a kind; all are counted
_SHOWN = 3  # names of a kind in the summary


class Line(NamedTuple):
    """One line of dead_letters.jsonl that is no clip."""

    path: str
    key: str  # always '': as in a Rejection, beside which it is written
    reason: str  # value of a Remark
    detail: str


class Remarks:
    """A list of remarks. Those on a text are made where only the text is known: `within` says where it stands."""

    def __init__(self):
        self.numbers = collections.Counter()  # value of a Remark -> how many captions, characters, files, ...
        self.lines = []  # of Line
        self._path, self._place = "", ""
        self._named = collections.Counter()

    def __eq__(self, other):
        return isinstance(other, Remarks) and self.numbers == other.numbers

    def __repr__(self):
        return f"Remarks({dict(self.numbers)})"

    @contextlib.contextmanager
    def within(self, path="", place=""):
        """All remarks made inside are about this file, and this place in it ('line 3'), unless they name another."""
        before = self._path, self._place
        self._path, self._place = path or self._path, place
        try:
            yield self
        finally:
            self._path, self._place = before

    def add(self, kind: Remark, detail: str, number=1, path="", place=""):
        """Counts `number` of a kind and keeps a line about them, as long as the kind has not too many."""
        self.numbers[kind.value] += number
        place = place or self._place
        detail = f"{place}: {detail}" if place else detail
        self._keep(Line(shown(path or self._path), "", kind.value, shown(detail)))

    def take(self, numbers, lines):
        """Adds the remarks of a worker, as JSON holds them."""
        self.numbers.update(numbers)
        for line in map(Line._make, lines):
            self._keep(line)

    def _keep(self, line):
        if self._named[line.reason] < MOST_NAMED:
            self._named[line.reason] += 1
            self.lines.append(line)

    def summary(self):
        """A line a kind: the number, what they are, and the first names."""
        found = []
        for kind in Remark:
            if number := self.numbers[kind.value]:
                of_kind = [line for line in self.lines if line.reason == kind.value]
                names = list(dict.fromkeys(line.path for line in of_kind))
                examples = [f"{line.path}: {line.detail}" for line in of_kind[:1]]
                if kind is Remark.IGNORED_FILE or len(names) > 1:
                    examples = [", ".join(names[:_SHOWN]) + ("" if len(names) <= _SHOWN else ", ...")]
                if kind is Remark.IGNORED_FILE and len(names) > _SHOWN:
                    examples.append(by_ending(names))
                cut = f"; {self._named[kind.value]} of them named" if len(of_kind) == MOST_NAMED else ""
                found.append(f"{number} {kind.text} ({'; '.join(examples)[:200]}{cut})")
        return found


def shown(text):
    """At most 1,000 characters that can be written as UTF-8; bytes of a name that are none stay apart, as \\xNN."""
    text = text[:1000]
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # from JSON, and no name of a file
        return text.encode("utf-8", "backslashreplace").decode()
