"""Files that are written whole or not at all, local or remote.

A remote path has a scheme (gs://...) and goes through TensorFlow's file systems; a local one needs no TensorFlow.
"""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator

PARTIAL = ".partial-"  # what the name of an unfinished file begins with


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the same folder that becomes `path` when the block ends well, and goes when not.

    Two writers at once have two temporary paths: the last one that ends well wins, and nothing is ever half of each.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == os.fspath(
            partial
        ):  # which says nothing to a person
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file (UTF-8) whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file whole or not at all."""
    if not is_remote(path):
        with whole_file(path) as partial:
            partial.write_bytes(content)
        return
    import tensorflow as tf

    partial = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    with tf.io.gfile.GFile(partial, "wb") as file:
        file.write(content)
    tf.io.gfile.rename(partial, path, overwrite=True)


def read_text(path: str | os.PathLike) -> str:
    if not is_remote(path):
        return pathlib.Path(path).read_text("utf-8")
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "r") as file:
        return file.read()


def is_remote(path: str | os.PathLike) -> bool:
    """Whether it is a URL (gs://...) and not a path of this machine."""
    return "://" in os.fspath(path)
