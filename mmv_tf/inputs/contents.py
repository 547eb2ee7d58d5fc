"""The identity of records by what they hold: for whatever is computed from them and kept."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

from mmv_tf.common.identity import LENGTH
from mmv_tf.inputs.offsets import opened
from mmv_tf.inputs.shards import Shards
from mmv_tf.records.tfrecord import FOOTER, HEADER, content_length

_AT_ONCE = 32  # shards


def identities(found: Shards) -> list[str]:
    """The identity of each shard: of the lengths and checksums of its records in their order.

    The files hold these beside each record, so that 16 bytes of it are read. Names, folders and times have no part
    in it: records that were copied are the same, and records that were made anew under the same names are others.

    Raises:
      OSError, tf.errors.OpError: a file is not there or cannot be read.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_of_shard, found.files, found.counts))


def _of_shard(file: str, count: int) -> str:
    digest, position = hashlib.sha256(), 0
    with opened(file) as (read, size):
        for number in range(count):
            length, lost = content_length(read(position, HEADER), size - position, number)
            if lost:  # whoever reads the record is told
                digest.update(f"{number}: {lost}".encode())
                break
            end = position + HEADER + length
            digest.update(length.to_bytes(8, "little") + read(end, FOOTER))
            position = end + FOOTER
    return digest.hexdigest()[:LENGTH]
