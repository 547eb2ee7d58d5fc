"""The Parquet files of embeddings: schema, gathering of staged vectors, writing.

| column | type | meaning |
|---|---|---|
| key | string | key of the record, or path of the video or picture relative to its folder |
| number | int32 | which window, sentence or picture of its key, in the order of time, from 0 |
| modality, space | dictionary of strings | as in the name of the file |
| vector | fixed-size list of float32 | as the module gives it, not normalised: compare by cosine |
| start, end | float64 | seconds from the start of the source; null for pictures |
| module | dictionary of strings | sha256 of the module, as in its model card |
"""

import hashlib
import io
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

_ROW_GROUP = 8192


def gather(references, dim: int) -> np.ndarray:
    """Staged vectors as one float32 [N, dim] array, in the order of `references`, a list of (file, offset).

    Raises:
      OSError: a staged file ends early; names it.
    """
    vectors = np.empty((len(references), dim), np.float32)
    order = sorted(range(len(references)), key=lambda i: references[i])
    for name, places in itertools.groupby(order, key=lambda i: references[i][0]):
        with FileSystems.open(name, compression_type="uncompressed") as file:
            for place in places:
                file.seek(references[place][1])
                data = file.read(4 * dim)
                if len(data) < 4 * dim:
                    raise OSError(f"{name}: ends before the vector at byte {references[place][1]}; run again")
                vectors[place] = np.frombuffer(data, "<f4")
    return vectors


def table(modality: str, space: str, identities, vectors: np.ndarray, module: str) -> pa.Table:
    """The rows of a file; identities: a list of (key, start, end), in order: equal keys stand together."""
    count, dim = vectors.shape

    def same(value):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value]))

    keys, starts, ends = zip(*identities, strict=True) if identities else ((), (), ())
    numbers = [number for _, same_key in itertools.groupby(keys) for number, _ in enumerate(same_key)]
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), dim)
    columns = {
        "key": pa.array(keys, pa.string()),
        "number": pa.array(numbers, pa.int32()),
        "modality": same(modality),
        "space": same(space),
        "vector": vector,
        "start": pa.array(starts, pa.float64()),
        "end": pa.array(ends, pa.float64()),
        "module": same(module),
    }
    return pa.table(columns)


def kept(path: str, sha256: str, dropped: set[str]) -> tuple[list[tuple], np.ndarray]:
    """The rows of a file but those of some keys: a list of (key, start, end), and float32 [N, dim].

    Raises:
      OSError: it is not the file that was written; names it.
    """
    with FileSystems.open(path, compression_type="uncompressed") as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise OSError(f"{path}: was changed since it was written; delete embeddings.json beside it and run again")
    rows = pq.read_table(io.BytesIO(content), columns=["key", "start", "end", "vector"])
    dim = rows.schema.field("vector").type.list_size
    keys = rows["key"].to_pylist()
    stays = np.array([key not in dropped for key in keys], bool)
    identities = zip(keys, rows["start"].to_pylist(), rows["end"].to_pylist(), strict=True)
    vectors = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return [one for one, stay in zip(identities, stays, strict=True) if stay], vectors[stays]


class _Sink(io.RawIOBase):
    """What pyarrow writes to: passes all on to a shards.WholeFile."""

    def __init__(self, out):
        self._out = out

    def writable(self):
        return True

    def write(self, data):
        self._out.write(bytes(data))
        return len(data)

    def tell(self):
        return self._out.size


def write(rows: pa.Table, out) -> None:
    """Writes a table to a shards.WholeFile; the same rows give the same bytes."""
    # Vectors are noise to a compressor: what it saves is in the keys.
    pq.write_table(rows, _Sink(out), row_group_size=_ROW_GROUP, compression="zstd", use_dictionary=["key"])
