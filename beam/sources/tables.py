"""Rows of csv files, whoever wrote them: read as they are meant, or refused in a line that says what was seen."""

import collections
import csv
import os
import re

from mmv_tf.beam.remarks import shown
from mmv_tf.beam.sources import encoding
from mmv_tf.records.card import Remark

MAX_FIELD = 16 << 20  # characters
csv.field_size_limit(MAX_FIELD)

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_INDEX = re.compile(r"(?:unnamed: \d+)?")  # the column that a pandas.DataFrame writes first


def open_text(path, remarks=None):
    """A text file of any encoding, opened with its line ends as they are.

    Args:
      remarks: Remarks for a guess at the encoding; without, what is neither UTF-8 nor marked is refused.
    Raises:
      ValueError: no regular file, or an encoding that is not told.
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError(f"{path}: no such file")
    name, is_sure = encoding.of_file(path)
    if not is_sure and remarks is None:
        raise ValueError(f"{path}: not UTF-8; it looks like {name}: save it as UTF-8")
    if not is_sure:
        remarks.add(Remark.ENCODING_GUESSED, f"not UTF-8; read as {name}", path=os.path.basename(path))
    return open(path, encoding=name, errors="replace", newline="")


def rows(path, columns, others=None, remarks=None, what=None, has_header=True, comment=None, may_be_short=False):
    """Yields (where, {column: text}) of each row that is not empty; `where` is 'line 3', the line where it begins.

    Args:
      columns: names that must be there; in this order where the file has no header.
      others: names of columns that may be there, and are '' where they are not; None: any.
      remarks: as in open_text().
      what: what the file is and where it comes from, for the error.
      comment: rows that begin with it are left out.
      may_be_short: whether a row may lack its last fields, which are '' then.
    Yields:
      (where, str) in place of the dict for a row that has another number of fields than the header.
    Raises:
      ValueError: no such columns, a column twice, or no csv: one line that shows what was seen.
    """
    with open_text(path, remarks) as file:
        lines = _Lines(file)
        delimiter = _delimiter(file, columns, comment) if has_header else ","
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        header = None if has_header else list(columns)
        while True:
            first = lines.number + 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise ValueError(_broken(path, first, lines.number, error)) from None
            if fields is None:
                break
            fields = [field.strip() for field in fields]
            where = f"line {first}"
            if not any(fields) or comment and fields[0].startswith(comment):
                continue
            if any(_holds_rows(field, delimiter, len(header or fields)) for field in fields if "\n" in field):
                what_seen = f"a quoted field reaches to line {lines.number} and holds what looks like rows"
                raise ValueError(f"{path}: {where}: {what_seen}: a quote that is not closed?")
            if not has_header and [name.lower() for name in fields[: len(columns)]] == list(columns):
                continue
            if header is None:
                header = _header(path, where, fields, delimiter, columns, others, what)
                if ignored := [number for number, name in enumerate(header, 1) if not name]:
                    if remarks is not None:
                        remarks.add(
                            Remark.COLUMN_IGNORED,
                            f"column {ignored[0]} has no name: an index",
                            path=os.path.basename(path),
                        )
                continue
            if any(fields[len(header) :]) or len(fields) < len(header) and not may_be_short:
                seen = f"{len(fields)} fields, and {len(header)} columns"
                yield where, f"{seen} separated by {_DELIMITERS[delimiter]}"
                continue
            row = dict(zip(header, fields, strict=False))
            row.pop("", None)
            row.update({name: "" for name in (*columns, *(others or ())) if name not in row})
            yield where, row
    if header is None:
        raise ValueError(f"{path}: it is empty; expected {what or ', '.join(columns)}")


class _Lines:
    """The lines of a file, counted; one without end is an error of the csv reader."""

    def __init__(self, file):
        self._file, self.number = file, 0

    def __iter__(self):
        return self

    def __next__(self):
        line = self._file.readline(4 * MAX_FIELD)
        if not line:
            raise StopIteration
        self.number += 1
        return line.replace("\0", "")


def _delimiter(file, columns, comment):
    """That by which the first row falls into the columns; a comma where none does."""
    line = file.readline(MAX_FIELD)
    while line and (not line.strip() or comment and line.startswith(comment)):
        line = file.readline(MAX_FIELD)
    file.seek(0)

    def found(delimiter):
        names = {name.strip(' "\r\n\ufeff').lower() for name in line.split(delimiter)}
        return sum(name in names for name in columns), line.count(delimiter)

    return max(_DELIMITERS, key=found)


def _holds_rows(field, delimiter, width):
    """Whether a field of several lines is what a quote that is not closed makes of rows, and not a text with commas."""
    lines = field.split("\n")[1:]
    return any(line.count(delimiter) >= max(2, width - 2) and f"{delimiter} " not in line for line in lines)


def _header(path, where, fields, delimiter, columns, others, what):
    names = [name.lower() for name in fields]
    names = ["" if _INDEX.fullmatch(name) else name for name in names]
    seen = f"the header is {', '.join(map(repr, fields))[:200]}, separated by {_DELIMITERS[delimiter]}"
    expected = what or ", ".join((*columns, *(others or ())))
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"{path}: {where}: no column {', '.join(missing)}; {seen}; expected {expected}")
    if found := twice(name for name in names if name):
        raise ValueError(f"{path}: {where}: column {found[0][:50]!r} is there twice; {seen}")
    if others is not None and (unknown := [name for name in names if name and name not in (*columns, *others)]):
        listed = ", ".join(unknown)[:200]
        raise ValueError(f"{path}: {where}: unknown column {listed}; {seen}; expected {expected}")
    return names


def _broken(path, first, last, error):
    what = f"line {first}" if last <= first else f"lines {first} to {last}"
    why = {
        "unexpected end of data": "a quote is not closed",
        f"field larger than field limit ({MAX_FIELD})": (
            f"a field of over {MAX_FIELD} characters; is a quote not closed?"
        ),
    }.get(str(error), shown(str(error)))
    return f"{path}: {what}: no csv: {why}"


def twice(names):
    """Those of some names that are there more than once, sorted."""
    return sorted(name for name, count in collections.Counter(names).items() if count > 1)


def unique_keys(pairs):
    """For json's object_pairs_hook: a dict. ValueError: a key that is there twice, of which json keeps one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        raise ValueError(f"the key {max(counts, key=counts.get)[:50]!r} is there twice")
    return found
