"""Milvus as the engine of an index, for those who outgrow one machine: it holds the vectors and compares them.

The index stays the truth: who writes it puts vectors into Milvus before the transaction that names them, and takes them
out after the one that drops them. So Milvus holds all that lives at any moment, and perhaps some that does not, after a
kill: results of those are dropped, and the next writer takes them out, which it sees by their number.
"""

import contextlib
import functools
import logging
import os
import re
from collections.abc import Iterable

import numpy as np
import pymilvus

from mmv_tf.searching.engines import two_stage
from mmv_tf.searching.engines.two_stage import Found, unit

TOKEN = "MILVUS_TOKEN"  # in the environment: user:password, or a key; never in the index
_MOST_FOUND = 16_384  # that Milvus gives at once
_MOST_IDS = 100_000  # in one filter
_ROWS_AT_ONCE = 1_000

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # errors come as ours, in one line


@contextlib.contextmanager
def _told(uri):
    try:
        yield
    except pymilvus.MilvusException as error:
        why = " ".join(str(error.message).split())[:300]
        hint = ": is it in use by another process?" if "Open local milvus" in why else ""
        raise ValueError(f"{uri}: Milvus says: {why}{hint}") from None


@functools.lru_cache(maxsize=8)
def _client(uri):
    if "://" not in uri:  # milvus-lite's own server in this process tells of calls that it does not know
        logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
    with _told(uri):
        return pymilvus.MilvusClient(uri, token=os.environ.get(TOKEN, ""), timeout=10)


def collection(prefix: str, key: tuple[str, str]) -> str:
    """The name of the collection of a modality and space: letters, digits and _ alone, as Milvus wants it."""
    return "_".join((prefix, *(re.sub(r"\W|_", lambda found: f"_{ord(found[0]):x}_", name) for name in key)))


class Mirror:
    """What the writer of an index does in Milvus.

    Args:
      uri: of a server, or the path of a file for milvus-lite.
      prefix: of the names of collections; one an index.
    Raises (all that it does):
      ValueError: Milvus cannot be reached or refuses; one line with its uri.
    """

    def __init__(self, uri: str, prefix: str):
        self.uri, self._prefix, self.client = uri, prefix, _client(uri)

    def add(self, key: tuple[str, str], ids: np.ndarray, vectors: np.ndarray) -> None:
        """Puts rows in: ids int64 [n], unit vectors [n, d], in place of what is there under these ids."""
        name = collection(self._prefix, key)
        with _told(self.uri):
            if not self.client.has_collection(name):
                schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
                schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
                schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=vectors.shape[1])
                index = self.client.prepare_index_params()
                index.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
                self.client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
            for begin in range(0, len(ids), _ROWS_AT_ONCE):
                some = zip(ids[begin : begin + _ROWS_AT_ONCE], vectors[begin : begin + _ROWS_AT_ONCE], strict=True)
                rows = [{"id": int(number), "vector": vector.astype(np.float32)} for number, vector in some]
                self.client.upsert(name, rows)

    def remove(self, keys: Iterable[tuple[str, str]], ids: np.ndarray) -> None:
        """Takes ids out of the collections of some modalities and spaces."""
        with _told(self.uri):
            for name in (collection(self._prefix, key) for key in keys):
                if self.client.has_collection(name):
                    for begin in range(0, len(ids), _ROWS_AT_ONCE):
                        self.client.delete(name, ids=[int(one) for one in ids[begin : begin + _ROWS_AT_ONCE]])

    def mend(self, key: tuple[str, str], ids: np.ndarray, rows) -> None:
        """Makes a collection hold exactly some ids, where it holds another number of them.

        Args:
          ids: int64 [n], ascending.
          rows: function of places in `ids` that gives their unit vectors.
        """
        name = collection(self._prefix, key)
        if (number := self._number(name)) == len(ids):
            return
        there = self._ids(name, int(ids[-1])) if number and len(ids) else np.zeros(0, np.int64)
        self.remove([key], np.setdiff1d(there, ids))
        if number:
            with _told(self.uri):
                self.client.delete(name, filter=f"id > {int(ids[-1]) if len(ids) else -1}")
        lacking = np.flatnonzero(~np.isin(ids, there))
        for begin in range(0, len(lacking), _ROWS_AT_ONCE):
            some = lacking[begin : begin + _ROWS_AT_ONCE]
            self.add(key, ids[some], rows(some))

    def drop_others(self, keys: Iterable[tuple[str, str]]) -> None:
        """Drops the collections of this index that are of no modality and space of these."""
        mine = {collection(self._prefix, key) for key in keys}
        with _told(self.uri):
            for name in self.client.list_collections():
                if name.startswith(f"{self._prefix}_") and name not in mine:
                    self.client.drop_collection(name)

    def _number(self, name):
        with _told(self.uri):
            if not self.client.has_collection(name):
                return 0
            return int(self.client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"])

    def _ids(self, name, last):
        """Those up to `last`, by ranges, each of which fits into one answer."""
        found = []
        with _told(self.uri):
            for begin in range(0, last + 1, _MOST_FOUND):
                ids = f"id >= {begin} and id <= {min(begin + _MOST_FOUND - 1, last)}"
                rows = self.client.query(name, filter=ids, output_fields=["id"], limit=_MOST_FOUND)
                found += [row["id"] for row in rows]
        return np.array(sorted(found), np.int64)


class Engine(two_stage.Rows):
    """Asks Milvus for ids, and gives their rows the scores that their vectors have here.

    Args:
      parts, is_live: as in two_stage.Rows.
      ids: int64 [rows] of the windows.
      uri, prefix: as in Mirror.
      key: modality and space.
    """

    def __init__(self, parts, is_live, ids, uri: str, prefix: str, key: tuple[str, str]):
        super().__init__(parts, is_live)
        self._uri, self._name, self._client = uri, collection(prefix, key), _client(uri)
        self._order = np.argsort(ids, kind="stable")
        self._ids = ids[self._order]
        self._all_ids = ids
        self._sample = self.rows(self.sampled)

    def search(self, query: np.ndarray, number: int, allowed: np.ndarray | None = None) -> Found:
        """See two_stage.Rows. A filter that leaves few rows is compared here, with all of them."""
        if not self.num_live:
            return two_stage.NOTHING
        query = unit(query)
        sample = self._sample @ query
        wanted, filtering = number, ""
        if allowed is not None:
            rows = np.flatnonzero(allowed)
            if len(rows) <= two_stage.SAMPLED:
                found = self.exactly(query, rows, sample, True)
                return found._replace(rows=found.rows[:number], scores=found.scores[:number])
            if len(rows) <= _MOST_IDS:
                filtering = f"id in [{', '.join(map(str, self._all_ids[rows]))}]"
            else:
                wanted = int(number * self.num_live / len(rows)) + number
        with _told(self._uri):
            (hits,) = self._client.search(
                self._name,
                data=[query],
                limit=min(wanted + 100, self.number + 100, _MOST_FOUND),  # some may be gone
                filter=filtering,
                search_params={"metric_type": "IP"},
                output_fields=["id"],
            )
        ids = np.array([hit["id"] for hit in hits], np.int64)
        place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        rows = self._order[place[self._ids[place] == ids]]
        rows = rows[(self.is_live if allowed is None else allowed)[rows]]
        found = self.exactly(query, rows, sample, False)
        return found._replace(rows=found.rows[:number], scores=found.scores[:number])
