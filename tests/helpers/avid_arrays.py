"""Arrays of AVID and AVID-CMA, and the inputs that they were computed from.

tests/golden/avid.npz: numbers that facebookresearch/AVID-CMA (CC BY-NC 4.0; figures only, none of its code) gives for
inputs and weights that are drawn by seeds. Without a prefix the losses and memories; net/: networks; front_end/: sound.
"""

import functools

import numpy as np

from helpers.golden_recipe import load
from helpers.system_arrays import normal, unit

RECORDS, DIM, BATCH, NEGATIVES, POSITIVES = 64, 16, 6, 20, 5


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    return load("avid")


def embeddings(step: int) -> dict[str, np.ndarray]:
    """{modality: [B, d], not normalised}."""
    return {"video": normal([BATCH, DIM], 310 + step), "audio": normal([BATCH, DIM], 320 + step)}


def memories() -> dict[str, np.ndarray]:
    """{modality: [N, d] unit vectors} with which AVID begins."""
    return {"video": unit([RECORDS, DIM], 300), "audio": unit([RECORDS, DIM], 301)}


def grouped_memories() -> dict[str, np.ndarray]:
    """{modality: [N, d] unit vectors} of CMA: eight groups, with noise."""
    found = {}
    for offset, name in enumerate(("video", "audio")):
        rows = unit([8, DIM], 340 + offset)[np.arange(RECORDS) % 8] + 0.6 * unit([RECORDS, DIM], 342 + offset)
        found[name] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found
