"""Names of shards, and keys of clips."""

import hashlib
import re
from typing import NamedTuple

_SHARD = re.compile(r"(.+)-(\d{5,})-of-(\d{5,})(?:\.\w+)?")


class ShardName(NamedTuple):
    """'train-00002-of-00008' in parts."""

    split: str
    index: int
    number: int


def parse_shard_name(name: str) -> ShardName | None:
    """The parts of the name of a shard; None for other names."""
    match = _SHARD.fullmatch(name)
    return ShardName(match[1], int(match[2]), int(match[3])) if match else None


def shard_name(split, index, number):
    """'train-00002-of-00008'."""
    return f"{split}-{index:05d}-of-{number:05d}"


def clip_key(path, start, end):
    """The key of a clip: its path and span. 'a/b.mp4:12.5-22.5', to the microsecond."""

    def seconds(value):
        return f"{value:.6f}".rstrip("0").rstrip(".")

    return f"{path}:{seconds(start)}-{'' if end is None else seconds(end)}"


def shard_of(key, num_shards):
    """(shard, rank): the shard of a clip and what its records are sorted by in it, both from a hash of the key.

    The order is that of the hash, not of the key, so that the clips of one source do not lie side by side.
    """
    digest = hashlib.sha256(key.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") % num_shards, digest[8:].hex()
