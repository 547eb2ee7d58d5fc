"""Labels of files, from a table with the columns file and label: a filter, kept by the paths of the files."""

import os
from typing import NamedTuple

from mmv_tf.beam.remarks import Remarks, shown
from mmv_tf.beam.sources import paths, tables
from mmv_tf.searching.store import Store

_COLUMNS = ("file", "label")
MOST_CHARACTERS = 200  # of a label


class Read(NamedTuple):
    """What a table gave: labels, files with one, files of the index without; and what could not be used, in lines."""

    labels: int
    files: int
    without: int
    troubles: list[str]

    def __str__(self):
        return f"{self.labels} labels of {self.files} files; {self.without} files have none"


def take(store: Store, table: str, root: str) -> Read:
    """Stores the labels of a table in place of those that are there.

    Args:
      table: path of a csv: `file` is relative to the root, or a whole path below it; a file may have several rows.
    Raises:
      ValueError: no such table, or without these columns.
    """
    remarks, troubles, found = Remarks(), [], set()
    there = {path for (path,) in store.rows("SELECT path FROM files")}
    for where, row in tables.rows(table, _COLUMNS, remarks=remarks):
        if isinstance(row, str):
            troubles.append(f"{where}: {row}")
            continue
        name, label = row["file"], row["label"]
        if os.path.isabs(name):
            name = os.path.relpath(name, os.path.abspath(root))
        path, why = paths.inside(root, name) if name else (None, (None, "no file"))
        if why is None and not 0 < len(label) <= MOST_CHARACTERS:
            why = None, f"a label of {len(label)} characters; 1 to {MOST_CHARACTERS} are taken"
        if why:
            troubles.append(f"{where}: {shown(name)[:200]}: {why[1]}")
            continue
        if path not in there:
            troubles.append(f"{where}: {path[:200]}: no such file in the index")
        found.add((label, path))
    troubles += [f"{line.path}: {line.detail}" for line in remarks.lines]
    store.label(sorted(found))
    with_label = {path for _, path in found} & there
    return Read(len({label for label, _ in found}), len(with_label), len(there - with_label), troubles)


def known(store: Store, most: int = 1000) -> list[str]:
    """The labels that files of the index have, those of most files first."""
    statement = "SELECT label FROM labels JOIN files USING (path) GROUP BY label ORDER BY COUNT(*) DESC, label LIMIT ?"
    return [label for (label,) in store.rows(statement, most)]
