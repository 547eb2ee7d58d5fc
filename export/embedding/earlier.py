"""Earlier runs of the embedding job into the same folder: what of their vectors stays, and how a run takes its place.

A run writes all its files beside the earlier ones, in the staging folder, then a list of them; from then on it is done,
and moving them into place is gone on with by the next run, should this one be killed. Before, the earlier files are as
they were. While files are moved there is no embeddings.json, so that nobody takes half of each for a whole.
"""

import collections
import json
import os
from collections.abc import Iterable
from typing import NamedTuple

from apache_beam.io.filesystems import FileSystems

from mmv_tf.beam import storage
from mmv_tf.beam.remarks import Line
from mmv_tf.beam.specs import Rejection
from mmv_tf.records.card import DEAD_LETTERS, OF_THE_MOMENT, Remark

SUMMARY, SOURCES = "embeddings.json", "sources.jsonl"
_READY, _LIST = "ready-", "commit.json"


class Kept(NamedTuple):
    """What stays of an earlier run. `why` says why nothing does, and is '' where something may."""

    why: str
    marks: dict[str, list]  # path -> size and time, of the sources that stay
    gone: tuple[str, ...] = ()  # sources that it had, and of which nothing stays
    changed: int = 0  # of these, those that are still there
    files: dict[str, dict] = {}  # as in its embeddings.json
    rejections: tuple[Rejection, ...] = ()
    lines: tuple[Line, ...] = ()  # remarks
    remarked: dict[str, dict] = {}  # path -> {code of a remark: how many}
    unknown: int | None = None  # texts without known words


def mark(path: str) -> list | None:
    """Size and time of a file, which change when it does; None if it cannot be looked at."""
    try:
        if storage.is_remote(path):
            found = FileSystems.get_filesystem(path).metadata(path)
            return [found.size_in_bytes, found.last_updated_in_seconds]
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns]
    except OSError:
        return None


def kept(output: str, made_with: dict, marks: dict[str, list | None], in_parts: bool) -> Kept:
    """What of an earlier run stays.

    Args:
      output: folder that it wrote.
      made_with: all that a vector depends on but its source; as JSON.
      marks: of the sources that there are now.
      in_parts: whether the rows of a source are known by its path; if not, all sources must be as they were.
    """
    path = FileSystems.join(output, SUMMARY)
    try:
        before = json.loads(storage.read_text(path))
        sources = lines(FileSystems.join(output, SOURCES))
        old = {one["path"]: [one["size"], one["changed"]] for one in sources}
        dead = lines(FileSystems.join(output, DEAD_LETTERS))
        dead = [Line(*(one[name] for name in Line._fields)) for one in dead]
        files, run, unknown = before["files"], before["made_with"], before.get("texts_without_known_words")
        # What only the earlier run names counts, too.
        different = [name for name in made_with | run if run.get(name) != made_with.get(name)]
    except FileNotFoundError:
        return Kept("", {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Kept(f"{path} or what is beside it cannot be read ({' '.join(str(error).split())[:100]})", {})
    if different:
        return Kept(f"the earlier vectors are of another {', '.join(different)}", {})
    for name, about in files.items():
        if storage.size(FileSystems.join(output, name)) != about["bytes"]:
            return Kept(f"{name} is gone, or was changed since", {})
    again = {one.path for one in dead if one.reason in OF_THE_MOMENT}
    stays = {one: now for one, now in marks.items() if now is not None and old.get(one) == now and one not in again}
    if not in_parts and (stays.keys() != marks.keys() or stays.keys() != old.keys()):
        return Kept("records have changed", {})
    gone = tuple(sorted(old.keys() - stays.keys()))
    of_remarks = {one.value for one in Remark}
    dead = [one for one in dead if one.path in stays or not in_parts]
    return Kept(
        "", stays, gone, sum(one in marks for one in gone), files,
        tuple(Rejection(*one) for one in dead if one.reason not in of_remarks),
        tuple(one for one in dead if one.reason in of_remarks),
        {one["path"]: one["remarks"] for one in sources if one.get("remarks") and one["path"] in stays}, unknown,
    )  # fmt: skip


def lines(path: str) -> list:
    """The lines of a file of JSON. Names may hold U+2028 and the like, at which str.splitlines splits, too."""
    return [json.loads(line) for line in storage.read_text(path).split("\n") if line]


def source_lines(marks: dict[str, list | None], remarked: dict[str, dict]) -> str:
    """The content of SOURCES: a line of JSON for each source that could be looked at."""
    sources = []
    for path, found in sorted(marks.items()):
        if found is not None:
            about = {"path": path, "size": found[0], "changed": found[1]}
            sources.append(about | ({"remarks": remarked[path]} if path in remarked else {}))
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in sources)


def added(every: Iterable[dict]) -> collections.Counter:
    """The sum of several {code: how many}."""
    total = collections.Counter()
    for one in every:
        total.update(one)
    return total


def ready(staging: str, name: str) -> str:
    """Where a file lies until the run is done."""
    return FileSystems.join(staging, f"{_READY}{name}")


def commit(output: str, staging: str, names: Iterable[str], others: Iterable[str]) -> None:
    """Makes a run the one of the folder: from the writing of a list of its files on, whatever happens.

    Args:
      names: of files that are `ready`, SUMMARY among them.
      others: of files in the output that go.
    """
    with storage.WholeFile(staging, FileSystems.join(staging, _LIST)) as file:
        file.write(json.dumps({"names": sorted(names), "others": sorted(others)}).encode())
    finish(output, staging)


def finish(output: str, staging: str) -> bool:
    """Goes on with moving the files of a run that is done into place. Returns whether there was one."""
    try:
        found = json.loads(storage.read_text(FileSystems.join(staging, _LIST)))
    except FileNotFoundError:
        return False
    summary = FileSystems.join(output, SUMMARY)
    if FileSystems.exists(ready(staging, SUMMARY)) and FileSystems.exists(summary):
        storage.delete(summary)
    for name in found["others"]:
        if FileSystems.exists(FileSystems.join(output, name)):
            storage.delete(FileSystems.join(output, name))
    for name in sorted(found["names"], key=lambda name: name == SUMMARY):  # which comes last
        if FileSystems.exists(ready(staging, name)):
            FileSystems.rename([ready(staging, name)], [FileSystems.join(output, name)])
    return True
