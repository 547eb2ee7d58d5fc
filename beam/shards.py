"""Files of records: TFRecord framing, and writing under a temporary name that is moved when whole.

All access goes through Beam's FileSystems, so an output folder may be local or in a bucket.
"""

import hashlib
import struct
import uuid

import google_crc32c
from apache_beam.io.filesystems import FileSystems

_HEADER, _FOOTER = 12, 4  # bytes around the data of a record: its length (8), and the checksums of length and data


def shard_name(split, index, number):
    """'train-00002-of-00008'."""
    return f"{split}-{index:05d}-of-{number:05d}"


def _masked_crc(data):
    """TFRecord's checksum: CRC-32C, rotated and shifted so that data which holds checksums is safe."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(data):
    """A record as it lies in a TFRecord file: length, checksum of the length, data, checksum of the data."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def check_framed(frame):
    """Whether `frame` is one whole, undamaged record."""
    return (
        len(frame) >= _HEADER + _FOOTER
        and struct.unpack("<Q", frame[:8])[0] == len(frame) - _HEADER - _FOOTER
        and frame[8:_HEADER] == _masked_crc(frame[:8])
        and frame[-_FOOTER:] == _masked_crc(frame[_HEADER:-_FOOTER])
    )


class WholeFile:
    """A file that appears under its name only when all of it is written.

    with WholeFile(folder_for_temporary_files, path) as file: file.write(...)
    """

    def __init__(self, scratch, path):
        self._path = path
        self._temporary = FileSystems.join(scratch, f"tmp-{uuid.uuid4().hex}")
        self._sha256 = hashlib.sha256()
        self.size = 0  # bytes written so far

    def __enter__(self):
        self._file = FileSystems.create(self._temporary, "application/octet-stream", compression_type="uncompressed")
        return self

    def write(self, data):
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)

    def __exit__(self, kind, error, trace):
        self._file.close()
        if kind is None:
            FileSystems.rename([self._temporary], [self._path])
        else:
            FileSystems.delete([self._temporary])

    @property
    def sha256(self):
        return self._sha256.hexdigest()


def read_range(path, offset, length):
    """Bytes of a file; fewer than asked for where it ends early."""
    with FileSystems.open(path, compression_type="uncompressed") as file:
        file.seek(offset)
        return file.read(length)


def make_folder(path):
    """Creates a folder unless it exists; several workers may try at once."""
    if not FileSystems.exists(path):
        try:
            FileSystems.mkdirs(path)
        except OSError:
            if not FileSystems.exists(path):
                raise
