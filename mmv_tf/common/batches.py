"""Batches of one size, for networks of which each size is a trace of its own, their memory, and what is in them."""

import ctypes
import platform

import numpy as np

# In a batch, beside the modalities and views, and ends of such names.
BESIDE = ("label", "source", "key", "index")
ENDS = ("_mask", "_empty", "_seed", "_draw", "_place", "_order")
OUTPUTS = ("repr", "before_head", "last_conv")  # of a network, beside the spaces

# mallopt(3): M_MMAP_THRESHOLD, above which a block is taken from the system and given back by itself; M_TRIM_THRESHOLD,
# how much may lie free at the end of a heap before it is given back.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGEST = 1 << 30  # bytes; the largest threshold that an int takes, and above what a batch has


def filled(rows: np.ndarray, size: int) -> np.ndarray:
    """[n, ...] -> [size, ...], n from 1 to `size`: the last row again and again, in the places that are left.

    Copies and not zeros: a row that occurs anyway makes no NaN that was not there.
    """
    return np.asarray(rows)[np.minimum(np.arange(size), len(rows) - 1)]


def keep_freed_memory() -> bool:
    """Lets the C library keep blocks of up to 1 GiB that are freed, for those of the next step, which are as large.

    Otherwise glibc takes every block above 32 MB from the system, page by page, 4 KB each time that it is first written
    to: for a batch of 8 x 16 x 200 x 200 floats that takes six times as long as writing the numbers. What a process
    keeps is what it needed at its busiest. Whoever sets MALLOC_MMAP_THRESHOLD_ or GLIBC_TUNABLES is asked here no less:
    the last call counts.

    Returns:
      whether it was done: elsewhere than on Linux with glibc nothing is, and nothing needs to be.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_THRESHOLD, _LARGEST) and library.mallopt(_TRIM_THRESHOLD, _LARGEST))
