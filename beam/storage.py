"""Files of records: TFRecord framing, and writing under a temporary name that is moved when whole.

All access goes through Beam's FileSystems, so an output folder may be local or in a bucket.
"""

import hashlib
import os
import re
import shutil
import uuid

from apache_beam.io.filesystems import FileSystems


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
            delete(self._temporary)

    @property
    def sha256(self):
        return self._sha256.hexdigest()


def is_remote(path):
    """Whether a path is a URL, such as gs://bucket/folder; all others are of this machine."""
    return FileSystems.get_scheme(path) is not None


def check_writable(folder):
    """Creates a folder for records.

    Raises:
      ValueError: one line that says why there cannot be one.
    """
    if is_remote(folder) and re.search(r"[*?\[]", folder):
        raise ValueError(f"{folder}: no *, ? or [ in the name of a folder in a bucket: Beam takes them for a pattern")
    try:
        make_folder(folder)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be made ({error})") from None


def read_text(path):
    """The text of a small file. Raises FileNotFoundError."""
    if not FileSystems.exists(path):
        raise FileNotFoundError(path)
    with FileSystems.open(path, compression_type="uncompressed") as file:
        return file.read().decode("utf-8")


def size(path):
    """Bytes of a file; None when there is none."""
    return FileSystems.get_filesystem(path).size(path) if FileSystems.exists(path) else None


def names(folder, prefix=""):
    """The names of the files in a folder that begin with `prefix`, sorted."""
    if is_remote(folder):
        found = FileSystems.match([FileSystems.join(folder, f"{prefix}*")])[0].metadata_list
        return sorted(metadata.path.rsplit("/", 1)[-1] for metadata in found)
    # Not through Beam, to which a [ in the name of the folder would be a pattern.
    return sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith(prefix) and entry.is_file())


def delete(path):
    """Deletes a file."""
    if is_remote(path):
        FileSystems.delete([path])
    else:
        os.unlink(path)


def delete_folder(path):
    """Deletes a folder and all in it."""
    if is_remote(path):
        FileSystems.delete([path.rstrip("/") + "/"])
    else:
        shutil.rmtree(path)


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
