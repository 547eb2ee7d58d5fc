"""The vectors of an index as files for a vector database: Vertex Vector Search, or the bulk import of Milvus.

OUTPUT/video-vat/part-00000.json ...      vertex: a line of JSON a window, a folder a modality and space
OUTPUT/video-vat/part-00000.parquet ...   milvus: columns id, vector, file, start, end, kind
OUTPUT/moments.jsonl                      what an id means: {"id", "file", "start", "end", "kind", "labels"}
OUTPUT/export.json                        how many of what, of which module
"""

import json
import os
import pathlib
import posixpath
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmv_tf.searching.engines.two_stage import unit
from mmv_tf.searching.store import Store

FORMS = ("vertex", "milvus")
_ROWS_A_FILE = 100_000
_ROWS_AT_ONCE = 5_000


class _Moment(NamedTuple):
    path: str
    start: float
    end: float
    kind: str
    changed: int  # nanoseconds
    seconds: float
    labels: tuple[str, ...]


def write(store: Store, output: str, form: str) -> dict[str, int]:
    """Writes all vectors of an index to a folder, whole or not at all.

    Args:
      output: folder, which must not be there.
      form: one of FORMS.
    Returns:
      {'video-vat': number of vectors}.
    Raises:
      FileExistsError: the folder is there.
      ValueError: there is nothing in the index.
    """
    output = os.path.abspath(output)
    if os.path.lexists(output):
        raise FileExistsError(f"{output} is there already: choose another --output, or remove it first.")
    moments = _moments(store)
    temporary = pathlib.Path(f"{output}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of an earlier one that was killed
    temporary.mkdir(parents=True)
    try:
        counts = {}
        keys = sorted({key for key, _, _ in store.segments()})
        for key in keys:
            folder = temporary / "-".join(key)
            folder.mkdir()
            counts[folder.name] = _WRITERS[form](folder, _live_rows(store, key, moments), moments)
        if not sum(counts.values()):
            raise ValueError(f"{store.folder}: no moment in this index to export")
        with open(temporary / "moments.jsonl", "w", encoding="utf-8") as file:
            for number, one in sorted(moments.items()):
                about = {"id": str(number), "file": one.path, "start": one.start, "end": one.end, "kind": one.kind}
                file.write(json.dumps(about | {"labels": one.labels}, ensure_ascii=False) + "\n")
        about = {"form": form, "module": store.settings["module"], "generation": store.generation, "vectors": counts}
        (temporary / "export.json").write_text(
            json.dumps(about | {"similarity": "dot product of unit vectors"}, indent=2)
        )
        os.rename(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return counts


def _moments(store):
    labels = {}
    for label, path in store.rows("SELECT label, path FROM labels ORDER BY label"):
        labels.setdefault(path, []).append(label)
    rows = store.rows(
        "SELECT w.id, f.path, w.start, w.end, f.kind, f.changed, f.seconds FROM windows w JOIN files f ON f.id = w.file"
    )
    return {number: _Moment(*about, tuple(labels.get(about[0], ()))) for number, *about in rows}


def _live_rows(store, key, moments) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (ids, unit vectors float32 [n, d]) of what lives, some thousand at a time."""
    for of, ids, vectors in store.segments():
        if of == key:
            for begin in range(0, len(ids), _ROWS_AT_ONCE):
                some = ids[begin : begin + _ROWS_AT_ONCE]
                live = np.array([number in moments for number in some.tolist()], bool)
                if live.any():
                    yield some[live], unit(vectors[begin : begin + _ROWS_AT_ONCE][live])


def _vertex(folder, rows, moments):
    count, file = 0, None
    try:
        for ids, vectors in rows:
            for number, vector in zip(ids.tolist(), vectors, strict=True):
                if count % _ROWS_A_FILE == 0:
                    if file:
                        file.close()
                    file = open(folder / f"part-{count // _ROWS_A_FILE:05d}.json", "w", encoding="utf-8")
                file.write(json.dumps(_datapoint(number, vector, moments[number]), ensure_ascii=False) + "\n")
                count += 1
    finally:
        if file:
            file.close()
    return count


def _datapoint(number, vector, one: _Moment):
    """A line of Vertex's layout. A file is allowed under each folder that it lies in."""
    folders = [one.path]
    while folders[-1]:
        folders.append(posixpath.dirname(folders[-1]))
    restricts = [{"namespace": "kind", "allow": [one.kind]}]
    if folders[1:-1]:
        restricts.append({"namespace": "folder", "allow": folders[1:-1]})
    if one.labels:
        restricts.append({"namespace": "label", "allow": list(one.labels)})
    numbers = [
        {"namespace": "start", "value_double": one.start},
        {"namespace": "seconds", "value_double": one.seconds},
        {"namespace": "changed", "value_int": one.changed // 10**9},
    ]
    embedding = [round(float(value), 6) for value in vector]
    return {"id": str(number), "embedding": embedding, "restricts": restricts, "numeric_restricts": numbers}


def _milvus(folder, rows, moments):
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, in_file, writer = 0, 0, None
    try:
        for ids, vectors in rows:
            some = [moments[number] for number in ids.tolist()]
            table = pa.table(
                {
                    "id": pa.array(ids, pa.int64()),
                    "vector": pa.array(list(vectors), pa.list_(pa.float32())),
                    "file": pa.array([one.path for one in some], pa.string()),
                    "start": pa.array([one.start for one in some], pa.float64()),
                    "end": pa.array([one.end for one in some], pa.float64()),
                    "kind": pa.array([one.kind for one in some], pa.string()),
                }
            )
            if writer is None or in_file >= _ROWS_A_FILE:
                if writer:
                    writer.close()
                number = len(list(folder.iterdir()))
                writer, in_file = pq.ParquetWriter(folder / f"part-{number:05d}.parquet", table.schema), 0
            writer.write_table(table)
            count, in_file = count + len(ids), in_file + len(ids)
    finally:
        if writer:
            writer.close()
    return count


_WRITERS = {"vertex": _vertex, "milvus": _milvus}
