"""Finding and reading the files that datasets come with: text, csv and JSON, with errors of one line."""

import fnmatch
import json
import os
import pathlib
import re

from mmv_tf.beam.sources import tables

MAX_DEPTH = 4  # folders below the one that was given, in which an annotation file is looked for
MAX_LABELS = 100_000
CHUNK = 4 << 20  # characters of a large JSON file that are read at once
MAX_VALUE = 64 << 20  # characters of one value of it: the narrations of one video

_SPACE = re.compile(r"\s*")


def locate(given, names, what):
    """The annotation file meant by --annotations.

    Args:
      given: that file, under any name, or a folder with it in it or in a folder below.
      names: patterns of its official names, the most wanted first.
      what: what it is and where it comes from, for the error.
    Raises:
      ValueError: there is none, or there are several.
    """
    given = pathlib.Path(given)
    if given.is_file():
        return given
    if not given.is_dir():
        raise ValueError(f"--annotations {given}: no such file or folder; expected {what}")
    files = _names_below(given)
    for pattern in names:
        found = [path for path in files if fnmatch.fnmatchcase(path.name.lower(), pattern.lower())]
        # The nearest to the folder; an archive is often unpacked twice.
        depth = min((len(path.parts) for path in found), default=0)
        nearest = [path for path in found if len(path.parts) == depth]
        if len(nearest) > 1:
            raise ValueError(f"--annotations {given}: both {nearest[0]} and {nearest[1]} could be meant; name one")
        if nearest:
            return nearest[0]
    raise ValueError(f"--annotations {given}: no {' or '.join(names)} in it; expected {what}")


def beside(file, names):
    """The first of `names` that lies in the folder of a file, or None."""
    found = (path for name in names for path in [pathlib.Path(file).parent / name] if path.is_file())
    return next(found, None)


def _names_below(folder):
    found = []
    for place, subfolders, names in os.walk(folder):
        depth = len(pathlib.Path(place).relative_to(folder).parts)
        subfolders[:] = sorted(subfolders) if depth < MAX_DEPTH else []
        found += [pathlib.Path(place, name) for name in sorted(names) if name.lower().endswith(_TEXT_SUFFIXES)]
    return found


_TEXT_SUFFIXES = (".csv", ".json", ".txt", ".tsv")


def lines(path):
    """Yields (where, text) of each line of a text file that is not empty; `where` is 'FILE: line 3'."""
    with tables.open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line := line.strip():
                yield f"{path}: line {number}", line


def rows(path, columns, what, others=(), has_header=True, comment=None):
    """Yields (where, {column: text}) of each row of a csv file that is not empty.

    Args:
      columns: names that must be there; in this order where the file has no header.
      what: what the file is and where it comes from, for the error.
      others: names of columns that may be there; any further ones are no fault either.
      comment: rows that begin with it are left out.
    Raises:
      ValueError: no such columns, more fields than columns, or no csv.
    """
    found = tables.rows(path, columns, None, None, what, has_header, comment, may_be_short=True)
    for where, row in found:
        if isinstance(row, str):
            raise ValueError(f"{path}: {where}: {row}")
        yield f"{path}: {where}", {name: "" for name in others} | row


def load_json(path, what):
    """The object that a JSON file holds, whole: for files of some ten megabytes.

    Raises:
      ValueError: it is not valid JSON, names a key twice, or holds no object.
    """
    with tables.open_text(path) as file:
        try:
            content = json.load(file, object_pairs_hook=tables.unique_keys)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not valid JSON ({str(error)[:100]}); expected {what}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected {what}")
    return content


def json_items(path, what):
    """Yields (key, value) of the object in a JSON file of any size; held in memory is one value.

    The standard parser, value by value, since Python writes NaN into JSON and stricter streaming parsers end at it.

    Raises:
      ValueError: no object, values that are neither objects nor lists, one of over MAX_VALUE characters, or the end of
        the file before that of the object.
    """
    decoder, key, buffer, at = json.JSONDecoder(object_pairs_hook=tables.unique_keys), None, "", 0
    with tables.open_text(path) as file:

        def more():
            nonlocal buffer, at
            read = file.read(max(CHUNK, len(buffer) - at))
            buffer, at = buffer[at:] + read, 0
            return bool(read)

        def mark():
            """The next character that is no space, or ''."""
            nonlocal at
            while True:
                at = _SPACE.match(buffer, at).end()
                if at < len(buffer):
                    return buffer[at]
                if not more():
                    return ""

        def value(opening):
            nonlocal at
            if not (first := mark()) or first not in opening:
                raise ValueError(f"found {first or 'the end of the file'!r}")
            while True:
                try:
                    found, at = decoder.raw_decode(buffer, at)
                    return found
                except (ValueError, RecursionError) as error:
                    is_unfinished = isinstance(error, json.JSONDecodeError)  # it may be: others no end of it mends
                    if not is_unfinished or len(buffer) - at > MAX_VALUE or not more():
                        raise ValueError(str(error)[:100]) from None

        try:
            separator = mark()
            if separator != "{":
                raise ValueError(f"found {separator or 'nothing'!r}")
            at += 1
            while (mark() if separator == "{" else separator) != "}":
                key = value('"')
                if mark() != ":":
                    raise ValueError("no colon after a key")
                at += 1
                yield key, value("{[")
                separator = mark()
                if separator not in (",", "}"):
                    raise ValueError(f"found {separator or 'the end of the file'!r}")
                at += 1
            at += separator == "{"
            if rest := mark():
                raise ValueError(f"found {rest!r} after its end")
        except ValueError as error:
            place = "at its beginning" if key is None else f"after the key {str(key)[:50]!r}"
            raise ValueError(f"{path}: not valid JSON {place} ({error}); expected {what}") from None


def seconds(text, name="time"):
    """A time as a float. ValueError: no number, negative, or without bound."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} {str(text)[:50]!r} is not a number") from None
    if not 0 <= value < 1e7:
        raise ValueError(f"{name} {str(text)[:50]!r} is not a time in seconds")
    return round(value, 6)


def span(start, end):
    """(start, end) in seconds. ValueError: no times, or an end that is not after the start."""
    start, end = seconds(start, "start"), seconds(end, "end")
    if end <= start:
        raise ValueError(f"end {end:g} is not after start {start:g}")
    return start, end


def by_id(names, path):
    """Labels in the order of their ids, from {id: name}. An id that is not used gets a name that nothing has.

    Raises:
      ValueError: an id that cannot be one, or two ids of one name.
    """
    if names and not 0 <= min(names) <= max(names) < MAX_LABELS:
        raise ValueError(f"{path}: ids of classes must be 0 to {MAX_LABELS - 1}")
    if twice := tables.twice(names.values()):
        raise ValueError(f"{path}: two classes are called {twice[0][:50]!r}")
    return tuple(names.get(number, f"(class {number})") for number in range(max(names, default=-1) + 1))


def whole_number(text, where):
    try:
        if len(text) > 9:
            raise ValueError
        return int(text)
    except ValueError:
        raise ValueError(f"{where}: {text[:50]!r} is not a whole number") from None
