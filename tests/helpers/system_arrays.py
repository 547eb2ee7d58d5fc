"""Arrays of the references of other systems (MIL-NCE, GDT, CVRL, SimCLR, VATT), and the inputs that they were run on.

tests/golden/systems.npz holds values that the published code computed from inputs which are drawn here, by seeds; and
where there is no code, values computed in float64 from the published formula ('derived', more of them in derived.npz).
"""

import functools
import pathlib

import numpy as np

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@functools.cache
def _all() -> dict[str, np.ndarray]:
    found = {}
    for name in ("systems.npz", "derived.npz"):
        with np.load(_GOLDEN / name) as stored:
            found |= dict(stored)
    return found


def arrays(prefix: str) -> dict[str, np.ndarray]:
    """{rest of the name: array} of all arrays below 'prefix/'."""
    found = {n.removeprefix(f"{prefix}/"): a for n, a in _all().items() if n.startswith(f"{prefix}/")}
    assert found, prefix
    return found


def normal(shape, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def unit(shape, seed: int) -> np.ndarray:
    x = np.random.RandomState(seed).standard_normal(shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def video(b: int, t: int, h: int, w: int, seed: int) -> np.ndarray:
    """[b, t, h, w, 3] float32 in [0, 1]: coarse blocks that move in time, plus noise; samples differ in contrast."""
    rs = np.random.RandomState(seed)
    base = rs.uniform(size=(b, -(-t // 2), -(-h // 8), -(-w // 8), 3)) > 0.5
    base = base.repeat(2, 1).repeat(8, 2).repeat(8, 3)[:, :t, :h, :w]
    x = 0.75 * base + 0.25 * rs.uniform(size=(b, t, h, w, 3))
    return (x * np.linspace(1.0, 0.4, b).reshape(-1, 1, 1, 1, 1)).astype(np.float32)
