"""Batches of one size, for networks of which each size is a trace of its own."""

import numpy as np


def filled(rows: np.ndarray, size: int) -> np.ndarray:
    """[n, ...] -> [size, ...], n from 1 to `size`: the last row again and again, in the places that are left.

    Copies and not zeros: a row that occurs anyway makes no NaN that was not there.
    """
    return np.asarray(rows)[np.minimum(np.arange(size), len(rows) - 1)]
