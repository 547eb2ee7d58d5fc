"""Files of records: TFRecord framing, and writing under a temporary name that is moved when whole.

All access goes through Beam's FileSystems, so an output folder may be local or in a bucket.
"""

import hashlib
import struct
import uuid

from apache_beam.io.filesystems import FileSystems

from mmv_tf.tfrecord import FOOTER, HEADER, checksum


def shard_name(split, index, number):
    """'train-00002-of-00008'."""
    return f"{split}-{index:05d}-of-{number:05d}"


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
