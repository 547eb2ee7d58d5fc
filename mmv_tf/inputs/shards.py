"""TFRecord shards and how many records each holds."""

import dataclasses
import fnmatch
import os
import re
import struct

import tensorflow as tf

from mmv_tf.records import card as dataset_card


@dataclasses.dataclass(frozen=True)
class Shards:
    """Files in the order of their names, and the number of records in each; none is empty."""

    files: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def num_records(self) -> int:
        return sum(self.counts)


def find(pattern) -> Shards:
    """The shards that a pattern means, with counts from the dataset.json beside them, or counted if there is none.

    Args:
      pattern: a glob such as 'records/train-*', or several; local or remote.
    Raises:
      ValueError: nothing matches, a shard of dataset.json is missing, or there is no record at all. Names the pattern.
    """
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    counts = {}
    for one in patterns:
        files = [file for file in tf.io.gfile.glob(one) if not tf.io.gfile.isdir(file)]
        if not files:
            raise ValueError(f"no file matches {one!r}; a pattern of records looks like 'records/train-*'")
        known = _known_counts(one)
        absent = sorted(set(known) - set(files))
        if absent:
            raise ValueError(
                f"{absent[0]} is in dataset.json and not in the folder; copy it there, or preprocess again"
            )
        for file in files:
            counts[file] = known[file] if file in known else count_records(file)
    # An empty shard is legal (a split by hash can leave one) and never opened.
    files = [file for file in sorted(counts) if counts[file]]
    if not files:
        raise ValueError(f"the files that match {', '.join(map(repr, patterns))} hold no record")
    return Shards(tuple(files), tuple(counts[file] for file in files))


def _known_counts(pattern):
    """{path: records} of the shards in the dataset.json of the pattern's folder whose names the pattern matches."""
    folder, name = os.path.split(pattern)
    if re.search(r"[*?\[]", folder) or not tf.io.gfile.exists(os.path.join(folder, dataset_card.FILE_NAME)):
        return {}
    card = dataset_card.load(folder, read_text=lambda path: tf.io.gfile.GFile(path).read())
    return {os.path.join(folder, shard): n for shard, n in card.shards.items() if fnmatch.fnmatch(shard, name)}


def count_records(path: str) -> int:
    """Counts the records of a TFRecord file by their headers (12 of each record's bytes are read).

    Raises:
      ValueError: the file ends inside a record; names it.
    """
    with tf.io.gfile.GFile(path, "rb") as file:
        size, position, count = file.size(), 0, 0
        while position < size:
            file.seek(position)
            header = file.read(12)
            # Length, its CRC; then the payload and its CRC.
            position += 16 + struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size
            if position > size:
                raise ValueError(f"shard {path}: record {count} is cut off; the file is truncated or no TFRecord file")
            count += 1
    return count


def mean_record_bytes(shards: Shards) -> float:
    """Mean size of a record in bytes, from the sizes of at most eight shards."""
    step = -(-len(shards.files) // 8)
    files, counts = shards.files[::step], shards.counts[::step]
    return sum(tf.io.gfile.stat(file).length for file in files) / sum(counts)
