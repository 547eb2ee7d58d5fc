"""The place of a source: below a folder, or in a bucket, from where it is copied for as long as it is decoded."""

import contextlib
import os
import posixpath
import tempfile
from typing import NamedTuple

from mmv_tf.beam.sources import paths
from mmv_tf.beam.sources.paths import Refused
from mmv_tf.common import files
from mmv_tf.records.card import Reason

_CHUNK = 1 << 20


class Found(NamedTuple):
    """A file that is there, and what changes when its content does."""

    file: str
    size: int  # bytes
    changed: float  # nanoseconds, or what the bucket says


@contextlib.contextmanager
def opened(root, path, max_bytes):
    """Yields the Found of a source; one of this machine is open for as long as the context is.

    Args:
      root: folder, or URL of a file system that Beam knows.
      path: relative to it.
      max_bytes: that the file may have.
    Raises:
      Refused: it leads out of the root, is not there or is too large.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(Reason.BAD_ROW, "the name of the file is not valid UTF-8: rename it") from None
    root = os.fspath(root)
    with contextlib.ExitStack() as stack:
        found = _in_bucket(root, path) if files.is_remote(root) else stack.enter_context(_in_folder(root, path))
        if found.size > max_bytes:
            raise Refused(Reason.TOO_LARGE, f"{found.size} bytes, over {max_bytes}")
        yield found


@contextlib.contextmanager
def _in_folder(root, path):
    descriptor = paths.opened(root, path)
    try:
        status = os.fstat(descriptor)
        found = Found(os.path.realpath(os.path.join(root, path)), status.st_size, status.st_mtime_ns)
        open_here = f"/proc/{os.getpid()}/fd/{descriptor}"
        if not os.path.exists(open_here):  # no Linux
            yield found
            return
        # Whoever opens this name gets the file that is open here, whatever lies under its own name by then.
        with tempfile.TemporaryDirectory(prefix="mmv_tf-") as folder:
            name = os.path.join(folder, os.path.basename(path))  # of which the ending is a hint for decoders
            os.symlink(open_here, name)
            yield found._replace(file=name)
    finally:
        os.close(descriptor)


def _in_bucket(root, path):
    from apache_beam.io.filesystems import FileSystems

    if "\0" in path:
        raise Refused(Reason.BAD_ROW, "NUL in the path")
    inside = posixpath.normpath(path)
    if inside.split("/")[0] in ("..", "", ".") or files.is_remote(path):
        raise Refused(Reason.OUTSIDE_ROOT, "the path leads out of the root")
    file = FileSystems.join(root, inside)
    # Not FileSystems.match, to which * ? [ in a name would be a pattern.
    try:
        metadata = FileSystems.get_filesystem(file).metadata(file)
    except OSError:
        raise Refused(Reason.MISSING_FILE, "no such file") from None
    return Found(file, metadata.size_in_bytes, metadata.last_updated_in_seconds)


@contextlib.contextmanager
def local(found, max_bytes):
    """The path of a file on this machine with the content of a Found: itself, or a copy that the context deletes.

    Raises:
      Refused: it cannot be read, or has more bytes than it said.
    """
    if not files.is_remote(found.file):
        yield found.file
        return
    from apache_beam.io.filesystems import FileSystems

    # The suffix is a hint for the decoder.
    suffix = posixpath.splitext(found.file)[1]
    with tempfile.NamedTemporaryFile(suffix=suffix if suffix[1:].isalnum() else "") as copy:
        try:
            with FileSystems.open(found.file, compression_type="uncompressed") as stream:
                while data := stream.read(_CHUNK):
                    if copy.tell() + len(data) > max_bytes:
                        raise Refused(Reason.TOO_LARGE, f"over {max_bytes} bytes")
                    copy.write(data)
        except OSError as error:
            raise Refused(Reason.MISSING_FILE, f"cannot be read: {error}"[:200]) from None
        copy.flush()
        yield copy.name
