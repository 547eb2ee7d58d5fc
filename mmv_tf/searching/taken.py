"""An index of vectors that `mmv_tf embed` made, on this machine or on a cluster: nothing is embedded again."""

import json
import os
import pathlib
from typing import NamedTuple

import numpy as np

from mmv_tf.beam.sources import folder, paths, source_files
from mmv_tf.beam.specs import Settings
from mmv_tf.export.embedding import earlier
from mmv_tf.records.naming import parse_shard_name
from mmv_tf.searching import indexing, playing
from mmv_tf.searching.store import File, Store, Window


class Taken(NamedTuple):
    """What became of the files of a folder of embeddings."""

    files: int  # that were taken
    doubtful: int  # of these: may have changed since they were embedded
    lost: int  # left out: not below the root
    changed: list[str]  # paths, left out: certainly changed since
    gone: int  # that the index had, and that are not below the root any more


def take(store: Store, checksum: str, targets, directory: str, root: str) -> Taken:
    """Stores the windows of a folder that `mmv_tf embed --videos` wrote, in place of what is known of their files.

    A file of another size than the one that was embedded is left out. One of that size and another time may be a copy,
    or changed: it is stored as the file that was embedded, so that the next update embeds it anew.

    Its shards are by key, so that those of one number hold all that is of a file: held in memory is one of each.

    Args:
      checksum: of the module of the index.
      targets: modalities that are searched.
      directory: of the embeddings.
      root: where the files lie.
    Raises:
      ValueError: no embeddings of videos, or of another module; names the folder.
    """
    path = pathlib.Path(directory, earlier.SUMMARY)
    try:
        summary = json.loads(path.read_text("utf-8"))
        made_with, names, source = summary["module"]["sha256"], sorted(summary["files"]), summary["source"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no summary of `mmv_tf embed` ({error})") from None
    if "videos" not in source:
        raise ValueError(f"{path}: embeddings of {', '.join(source)}, and not of videos: their windows have no files")
    if made_with != checksum:
        raise ValueError(f"{path}: embeddings of the module {made_with[:12]}, and the index is of {checksum[:12]}")
    shards = {}
    for name in names:
        parts = parse_shard_name(name.removesuffix(".parquet"))
        if parts is None or os.path.basename(name) != name:
            raise ValueError(f"{path}: {name[:80]!r} is no name of a file of embeddings")
        shards.setdefault(parts.index, []).append(name)
    sources = _sources(os.path.join(directory, earlier.SOURCES))
    there = indexing.found_below(root)[0]
    taken = doubtful = lost = 0
    changed = []
    for _, of_shard in sorted(shards.items()):
        files, missing, differ = _files(pathlib.Path(directory), of_shard, targets, root, sources)
        for begin in range(0, len(files), 64):
            store.put(files[begin : begin + 64])
        taken, lost = taken + len(files), lost + missing
        doubtful += sum((file.size, file.changed) != there.get(file.path) for file in files)
        changed += differ
    gone = [path for (path,) in store.rows("SELECT path FROM files ORDER BY path") if path not in there]
    if gone:
        store.put([], gone)
    store.tidy()
    return Taken(taken, doubtful, lost, sorted(changed), len(gone))


def _sources(path):
    """{path: (size, time in nanoseconds)} of what was embedded."""
    try:
        return {one["path"]: (int(one["size"]), int(one["changed"])) for one in earlier.lines(path)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = "not found" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise ValueError(
            f"{path}: {why}; it says which files were embedded, and so which have changed since: copy it there from "
            "where the vectors were made, or run mmv_tf embed again"
        ) from None


def _files(directory, names, targets, root, sources):
    """(list of File, number of keys without a file, paths of files that have changed) of the tables of one shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    by_key = {}
    for name in names:
        try:
            table = pq.read_table(directory / name)
            columns = {column: table[column].to_pylist() for column in ("key", "modality", "space", "start", "end")}
            vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False)) if len(table) else []
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise ValueError(
                f"{directory / name}: no table of embeddings ({' '.join(str(error).split())[:200]})"
            ) from None
        for row, (key, modality, space, start, end) in enumerate(zip(*columns.values(), strict=True)):
            if modality in targets and space != "before_head" and start is not None and end is not None:
                windows = by_key.setdefault(key, {})
                windows.setdefault((float(start), float(end)), {})[modality, space] = vectors[row]
    files, missing, changed, captioned = [], 0, [], folder.Captioned(root)
    for key, windows in sorted(by_key.items()):
        try:
            with source_files.opened(root, key, Settings.max_file_bytes) as found:
                kind, plays = playing.looked_at(found.file)
                now = found.size, found.changed
        except paths.Refused:
            missing += 1
            continue
        mark = sources.get(key, (None, None))
        if mark[0] != now[0]:
            changed.append(key)
            continue
        rows = [Window(start, end, False, False, b"", of_span) for (start, end), of_span in sorted(windows.items())]
        # Without a content a file that may have changed is not known again elsewhere, as the one that was embedded.
        content = (indexing.content_of(root, key) or "") if mark == now else ""
        captions, narrations, remarks = indexing.narrations_of(captioned, key)
        files.append(File(key, *mark, content, rows[-1].end, "", plays, kind, rows, narrations, captions, remarks))
    return files, missing, changed
