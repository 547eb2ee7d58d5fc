"""Paths as people write them: `~`, and names that libraries would take for patterns.

TensorFlow looks for checkpoints, and Beam for what it has written, by patterns: a folder such as `fac[lr=0.1]` can be
written to and is never found again. Such a name is refused before any work is done; files to read are found under it.
"""

import argparse
import collections
import os
import re

_SPECIAL = "*?[]\\"


def home(path: str | os.PathLike) -> str:
    """The path with the home of a user for `~`."""
    return os.path.expanduser(os.fspath(path))


def plain(path: str | os.PathLike, what: str = "") -> str:
    """`home` of a folder or file that libraries write, or read by themselves.

    Args:
      what: the option or argument, for the message.
    Raises:
      ValueError: the path holds one of * ? [ ] \\; names it.
    """
    path = home(path)
    found = next((character for character in path if character in _SPECIAL), None)
    if found is None:
        return path
    raise ValueError(
        f"{what}{' ' if what else ''}{path!r} holds {found!r}, which TensorFlow and Beam take for a pattern: what is "
        f"written there would not be found again; take a name without any of {' '.join(_SPECIAL)}"
    )


def argument(path: str) -> str:
    """`plain`, as the type of an option."""
    try:
        return plain(path)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def literal(path: str | os.PathLike) -> str:
    """A pattern of TensorFlow's that means this very path."""
    return "".join(f"[{c}]" if c in "*?[" else f"\\{c}" if c == "\\" else c for c in home(path))


def matching(pattern: str | os.PathLike) -> list[str]:
    """The files that a pattern means, sorted. Where nothing matches, its folder is taken literally: `my[1]/train-*`.

    Several slashes are one, as everywhere but in TensorFlow's patterns.
    """
    import tensorflow as tf

    pattern = home(pattern)
    if "://" not in pattern:
        pattern = re.sub("/{2,}", "/", pattern)
    found = tf.io.gfile.glob(pattern)
    folder, name = os.path.split(pattern)
    if not found and any(character in folder for character in _SPECIAL):
        found = tf.io.gfile.glob(os.path.join(literal(folder), name))
        if not found and any(character in name for character in _SPECIAL):
            found = tf.io.gfile.glob(os.path.join(literal(folder), literal(name)))
    return sorted(found)


def by_ending(paths) -> str:
    """How many files there are of each ending, the most first: '3 .heic, 1 .txt'; '' for none."""
    counts = collections.Counter(os.path.splitext(path)[1].lower() or "without an ending" for path in paths)
    return ", ".join(f"{count} {ending}" for ending, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))
