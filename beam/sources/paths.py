"""Paths from outside: below which root they must stay, and rejections that name them."""

import errno
import os
import stat

from mmv_tf.beam.remarks import shown
from mmv_tf.beam.specs import Rejection
from mmv_tf.records.card import Reason


def confine(root, path):
    """The real path of a file given relative to root.

    Returns:
      (absolute path, None) or (None, (Reason, detail)).
    """
    root = os.path.realpath(root)
    if "\0" in path:
        return None, (Reason.BAD_ROW, "NUL in the path")
    real = os.path.realpath(os.path.join(root, path))
    if os.path.commonpath([root, real]) != root:
        return None, (Reason.OUTSIDE_ROOT, "the path leads out of the root")
    if not os.path.isfile(real):
        return None, (Reason.MISSING_FILE, "no such file" if not os.path.exists(real) else "not a regular file")
    return real, None


class Refused(Exception):
    """A file cannot be used; `reason` is a Reason."""

    def __init__(self, reason, detail):
        super().__init__(detail)
        self.reason = reason


def opened(root, path):
    """A descriptor of the file that `confine` means, of whoever calls: what was looked at is what is open.

    Between a look at a name and its opening the file can be swapped for a link: here the look comes after.

    Raises:
      Refused: it leads out of the root, or is no regular file that can be read.
    """
    real, why = confine(root, path)
    if why:
        raise Refused(*why)
    try:
        # Without waiting, should it be a pipe by now; `real` has no links in it.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(Reason.OUTSIDE_ROOT, "a link took the place of the file") from None
        raise Refused(Reason.MISSING_FILE, error.strerror) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(Reason.MISSING_FILE, "not a regular file")
        root, where = os.path.realpath(root), _place(descriptor)
        if where is not None and os.path.commonpath([root, where]) != root:
            raise Refused(Reason.OUTSIDE_ROOT, "the path leads out of the root")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _place(descriptor):
    """Where an open file lies, as far as the system says (Linux)."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
    except OSError:
        return None


def check_root(option, root):
    """Raises ValueError, which names the option, when root is no folder. A URL is for the workers to find."""
    if "://" not in str(root) and not os.path.isdir(root):
        raise ValueError(f"{option} {root}: not a folder")


def inside(root, path):
    """The one name of a path relative to root (./a is a), judged by the name alone, without a look at the disk.

    Returns:
      (path, None) or (None, (Reason, detail)).
    """
    if "\0" in path:
        return None, (Reason.BAD_ROW, "NUL in the path")
    if why := unusable_name(path):
        return None, (Reason.BAD_ROW, why.detail)
    # As if a root in a bucket were a folder.
    root = os.path.abspath("/" + str(root).replace("://", "/") if "://" in str(root) else root)
    path = os.path.relpath(os.path.join(root, path), root)
    if path.split(os.sep)[0] in (os.pardir, os.curdir):
        return None, (Reason.OUTSIDE_ROOT, "the path leads out of the root")
    return path.replace(os.sep, "/"), None


def rejection(path, reason, detail):
    """A Rejection of a row or a source; the path may be anything that stood in a file."""
    return Rejection(shown(path), "", reason.value, shown(detail))


def unusable_name(path):
    """Rejection of a path that no record can hold, or None."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return rejection(path, Reason.BAD_ROW, "the name of the file is not valid UTF-8: rename it")
    return None
