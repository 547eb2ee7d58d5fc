"""A control beside probes: a label that nothing can know. Whoever tells it by more than chance has found a leak."""

import hashlib

import numpy as np


def coins(keys) -> np.ndarray:
    """A coin for each clip, int [N] of 0 and 1, by a hash of its key: the same at all times, and in no clip."""
    return np.array([hashlib.sha256(f"coin {key}".encode("utf-8", "surrogatepass")).digest()[0] & 1 for key in keys])


def told(right: np.ndarray) -> dict:
    """{'value': per cent of coins that were told, 'noise': two standard deviations of guessing, 'clips': N}."""
    return {
        "value": 100 * float(np.mean(right)),
        "noise": 100 / np.sqrt(len(right)),
        "clips": len(right),
    }


def in_words(found: dict) -> str:
    """A sentence on what `told` gives; it says so where that is more than chance (five standard deviations)."""
    line = (
        f"control: a coin for each clip is told in {found['value']:.1f} % of {found['clips']} (chance 50.0, "
        f"+- {found['noise']:.1f})"
    )
    if found["value"] - 50 > 2.5 * found["noise"]:
        line += ": A LEAK, such as test clips that are training clips, too"
    return line
