"""One writer at a time: two commands that write into one folder would lose or mix what each of them makes.

The lock is the operating system's, on a file: it goes with the process that holds it, however that ends, so there is no
stale one. It holds on this machine, and on network file systems that pass locks on (NFS 4, Lustre with flock). There is
none in a bucket (gs://...).
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator

from mmv_tf.common import files

NAME = ".lock"


@contextlib.contextmanager
def folder(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Holds the lock of a folder, which is made, and goes again if nothing is written into it.

    Args:
      what: the command, for the message that another one gets.
    Raises:
      ValueError: another process holds it: says which, since when, and what to do.
    """
    if files.is_remote(path):
        yield
        return
    path = os.path.abspath(path)
    new = [path]
    while not os.path.lexists(new[-1]):
        new.append(os.path.dirname(new[-1]))
    try:
        _make(path)
        with _held(os.path.join(path, NAME), path, what):
            yield
    finally:
        with contextlib.suppress(OSError):
            for made in new[:-1]:
                os.rmdir(made)  # only where it is empty


@contextlib.contextmanager
def beside(path: str | os.PathLike, what: str) -> Iterator[None]:
    """As `folder`, for a path that must not be there before it is written whole."""
    if files.is_remote(path):
        yield
        return
    path = os.path.abspath(path)
    _make(os.path.dirname(path))
    with _held(os.path.join(os.path.dirname(path), f".{os.path.basename(path)}{NAME}"), path, what):
        yield


def _make(path):
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{path}: cannot be made ({error})") from None


@contextlib.contextmanager
def _held(file, path, what):
    import fcntl

    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ValueError(f"{path}: cannot be written ({error})") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise ValueError(f"{path}: in use by {owner}; wait until it ends, or write into another folder") from None
        except OSError as error:  # a file system without locks
            os.close(descriptor)
            print(
                f"{path}: no lock on this file system ({error.strerror}): see to it that one command writes at a time"
            )
            yield
            return
        # The holder before us may have deleted the file between our two calls: then this is the lock of nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                break
        os.close(descriptor)
    try:
        owner = {"what": what, "pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)
        os.close(descriptor)


def _owner(descriptor):
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(owner["since"])))
        return f"`mmv_tf {owner['what']}` (process {int(owner['pid'])} on {owner['host']}, since {since})"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
