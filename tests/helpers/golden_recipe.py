"""Deterministic weights and inputs, the same as those from which the golden arrays of tests/golden were made.

Every array is drawn from a generator seeded with the crc32 of its full name in the released networks (haiku module
name + '/' + leaf), so that a test needs no stored weights. `numpy.random.RandomState` is frozen by NumPy's policy.
"""

import pathlib
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def make_array(full_name: str, shape) -> np.ndarray:
    """The array of that name; `shape` with the broadcast dimensions of the released networks, or without them."""
    module, leaf = full_name.rsplit("/", 1)
    if leaf == "counter":
        return np.full(shape, 1000, np.int32)
    seed_name = module + "/average" if leaf == "hidden" else full_name
    z = np.random.RandomState(zlib.crc32(seed_name.encode())).standard_normal(size=shape)
    if leaf == "w":
        gain = 1.0 if module.endswith("/self_gating") else 0.5 if module.endswith("/conv_2") else 2.0
        z = z * np.sqrt(gain / np.prod(shape[:-1]))
    elif leaf == "b":
        z = 2.0 + 0.5 * z if module.endswith("/self_gating") else 0.1 * z
    elif leaf == "scale":
        z = 1.0 + 0.1 * z
    elif leaf in ("average", "hidden") and module.endswith("/var_ema"):
        z = np.exp(0.2 * z)
    elif leaf in ("average", "hidden", "offset"):
        z = 0.1 * z
    elif leaf != "embeddings":
        raise ValueError(full_name)
    return z.astype(np.float32)


def make_inputs(batch: int, frames: int, height: int, width: int, vocabulary: int = 1000, seed: int = 0):
    """video [b,t,h,w,3] in [0,1], audio [b,96,40,1], words int32 [b,16] with trailing zeros."""
    rs = np.random.RandomState(seed)
    pattern = rs.uniform(size=(batch, -(-frames // 4), -(-height // 16), -(-width // 16), 3)) > 0.5
    pattern = pattern.repeat(4, 1).repeat(16, 2).repeat(16, 3)[:, :frames, :height, :width]
    video = 0.75 * pattern + 0.25 * rs.uniform(size=(batch, frames, height, width, 3))
    video = (video * np.linspace(1.0, 0.25, batch).reshape(-1, 1, 1, 1, 1)).astype(np.float32)
    mel = rs.standard_normal((batch, 6, 5, 1)).repeat(16, 1).repeat(8, 2)
    audio = (mel + 0.5 * rs.standard_normal((batch, 96, 40, 1))).astype(np.float32)
    words = rs.randint(1, vocabulary, size=(batch, 16)).astype(np.int32)
    for i in range(batch):
        words[i, max(1, 16 - 4 * (i % 4)) :] = 0
    return video, audio, words


def unit_input(name: str, shape) -> np.ndarray:
    """An input of units.npz: standard normal, seeded by its name."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def probes(x, n: int = 32) -> np.ndarray:
    """n values of `x` at evenly spaced flat positions."""
    x = np.asarray(x).reshape(-1)
    return x[np.linspace(0, x.size - 1, n).astype(np.int64)]


def assign(entries) -> list:
    """Gives the variables of `name_map` entries their values of the recipe; returns the entries."""
    entries = list(entries)
    for entry in entries:
        if entry.variable is not None:
            entry.variable.assign(make_array(entry.name, entry.shape).reshape(entry.variable.shape))
    return entries


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of tests/golden/<name>.npz."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def assert_close(actual, expected, tolerance: float, what: str = ""):
    """max|actual - expected| <= tolerance * max|expected|, the measure in which the golden tolerances are stated."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"{what}: relative error {error:.2e} > {tolerance:.0e}"
