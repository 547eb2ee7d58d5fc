"""The contents of records as an identity: for whatever is computed from them and kept, and for runs that go on."""

import json
import os
from collections.abc import Sequence
from typing import NamedTuple

from mmv_tf.inputs.offsets import Index, index_of
from mmv_tf.inputs.shards import Shards


def identities(found: Shards) -> list[str]:
    """The identity of each shard: see `offsets.Index`.

    Raises:
      OSError, tf.errors.OpError: a file is not there or cannot be read.
    """
    return list(index_of([found], {}).identities)


class Contents(NamedTuple):
    """What a source of a training run holds."""

    source: str  # its name
    shards: tuple[str, ...]  # names of the files, without folders
    records: tuple[int, ...]  # in each
    identities: tuple[str, ...]


def of_sources(names: Sequence[str], found: Sequence[Shards], index: Index) -> list[Contents]:
    """Contents of the sources whose shards follow each other in an index."""
    contents, begin = [], 0
    for name, shards in zip(names, found, strict=True):
        end = begin + len(shards.files)
        files = tuple(map(os.path.basename, shards.files))
        contents.append(Contents(name, files, tuple(shards.counts), index.identities[begin:end]))
        begin = end
    return contents


def to_json(contents: Sequence[Contents]) -> str:
    """A line for each source and shard, so that a person sees a difference."""
    sources = []
    for one in contents:
        rows = [json.dumps(row) for row in zip(one.shards, one.records, one.identities, strict=True)]
        sources.append(f'  {{"source": {json.dumps(one.source)}, "shards": [\n    ' + ",\n    ".join(rows) + "\n  ]}")
    return "[\n" + ",\n".join(sources) + "\n]\n"


def from_json(text: str) -> list[Contents]:
    """ValueError, KeyError or TypeError: not what `to_json` writes."""
    sources = json.loads(text)
    if not isinstance(sources, list) or not sources:
        raise ValueError("no list of sources")
    return [Contents(one["source"], *map(tuple, zip(*one["shards"], strict=True))) for one in sources]


def difference(before: Sequence[Contents], now: Sequence[Contents]) -> str | None:
    """The first difference between the records of two sittings, in words; None where they are the same.

    What shards and sources are called is none, nor in which folder they lie.
    """
    if len(before) != len(now):
        return f"{len(before)} sources were read ({_names(before)}), and now {len(now)} ({_names(now)})"
    for old, new in zip(before, now, strict=True):
        if old.identities == new.identities and old.records == new.records:
            continue
        known = dict(zip(old.shards, zip(old.records, old.identities, strict=True), strict=True))
        found = dict(zip(new.shards, zip(new.records, new.identities, strict=True), strict=True))
        where = f"source {new.source!r}: "
        if gone := [name for name in old.shards if name not in found]:
            return (
                f"{where}{gone[0]} with {known[gone[0]][0]} records is gone ({len(gone)} of {len(old.shards)} shards)"
            )
        if added := [name for name in new.shards if name not in known]:
            return f"{where}{added[0]} with {found[added[0]][0]} records is new ({len(added)} shards)"
        for name in new.shards:
            if known[name] != found[name]:
                (was, was_id), (are, are_id) = known[name], found[name]
                return f"{where}{name} held {was} records ({was_id}) and holds {are} others ({are_id})"
        return f"{where}the shards are in another order"
    return None


def _names(contents):
    return ", ".join(one.source for one in contents)
