"""The framing of TFRecord files, read without TensorFlow.

A record is the length of its content (8 bytes), the checksum of the length, the content, and its checksum.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

HEADER, FOOTER = 12, 4  # bytes around the content
MAX_CONTENT = (2 << 30) - 1  # protobuf reads no longer message


def checksum(data) -> bytes:
    """TFRecord's: CRC-32C, rotated and shifted so that data which holds checksums is safe."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def content_length(header: bytes, left: int, number: int) -> tuple[int, str | None]:
    """(bytes of content of record `number`, why it cannot be read or None); `left`: bytes from its header on."""
    if len(header) == HEADER and header[8:] != checksum(header[:8]):
        return 0, f"the length of record {number} is damaged, which hides it and all that follow in the shard"
    length = struct.unpack("<Q", header[:8])[0] if len(header) == HEADER else left
    if HEADER + length + FOOTER > left:
        return 0, f"the shard ends before the end of record {number}"
    return length, None


def read(file: BinaryIO, size: int, digest=None) -> Iterator[tuple[bytes | None, str | None]]:
    """The records of an open file of `size` bytes, one by one.

    Args:
      file: at its start.
      size: bytes in it.
      digest: a hashlib object that sees every byte of the file, also what cannot be read as records.
    Yields:
      (content, None), or (None, what is wrong) for a record that is damaged. Where a length is damaged nobody knows
      where the next record begins: that is the last one.
    """
    see = digest.update if digest else lambda data: None
    position, number = 0, 0
    while position < size:
        header = file.read(HEADER)
        see(header)
        length, problem = content_length(header, size - position, number)
        if problem is None and length > MAX_CONTENT:
            problem = f"record {number} has {length} bytes; nothing reads more than {MAX_CONTENT}"
        if problem is not None:
            yield None, problem
            break
        content = file.read(length)
        footer = file.read(FOOTER)
        see(content)
        see(footer)
        whole = footer == checksum(content)
        yield (content, None) if whole else (None, f"the checksum of record {number} does not fit its content")
        position += HEADER + length + FOOTER
        number += 1
    while data := file.read(1 << 20):
        see(data)


def read_one(file: BinaryIO, size: int, number: int) -> bytes:
    """The content of one record of an open file, by its number from 0; passes over those before it.

    Raises:
      ValueError: there is no such record, or it is damaged.
    """
    position = 0
    for passed in range(number + 1):
        file.seek(position)
        length, problem = content_length(file.read(HEADER), size - position, passed)
        if problem:
            raise ValueError(problem)
        position += HEADER + length + FOOTER
    content = file.read(length)
    if file.read(FOOTER) != checksum(content):
        raise ValueError(f"the checksum of record {number} does not fit its content")
    return content


def count_records(path: str) -> int:
    """Counts the records of a TFRecord file by their headers (12 of each record's bytes are read).

    Raises:
      ValueError: the file ends inside a record, or a length is damaged; names the record.
    """
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as file:
        size, position, count = file.size(), 0, 0
        while position < size:
            file.seek(position)
            length, problem = content_length(file.read(HEADER), size - position, count)
            if problem:
                raise ValueError(f"shard {path}: record {count} is cut off or damaged, or this is no TFRecord file")
            position += HEADER + length + FOOTER
            count += 1
    return count


def framed(data):
    """A record as it lies in a TFRecord file: length, checksum of the length, data, checksum of the data."""
    length = struct.pack("<Q", len(data))
    return length + checksum(length) + data + checksum(data)


def check_framed(frame):
    """Whether `frame` is one whole, undamaged record."""
    return (
        len(frame) >= HEADER + FOOTER
        and struct.unpack("<Q", frame[:8])[0] == len(frame) - HEADER - FOOTER
        and frame[8:HEADER] == checksum(frame[:8])
        and frame[-FOOTER:] == checksum(frame[HEADER:-FOOTER])
    )
