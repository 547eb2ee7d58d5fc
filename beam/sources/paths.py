"""Paths from outside: below which root they must stay, and rejections that name them."""

import os

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
