"""Weights, inputs and arrays of the other systems' networks, run in their own libraries (docs/networks.md).

Weights and inputs are drawn by name, shape and seed, as in `golden_recipe`, so that a test needs no stored weights;
`about(system)` lists them. The arrays are end points of the references: of maps 32 values (`probes`), of wide outputs
256, otherwise whole.
"""

import functools
import gzip
import json
import math
import types
import zlib
from unittest import mock

import keras
import numpy as np

from helpers.golden_recipe import GOLDEN, assert_close, load, probes
from mmv_tf.backbones import layers


def array(name: str, shape, kind: str, gain: float = 2.0, layout: str = "torch") -> np.ndarray:
    """float32; `kind`: w (kernel), b (bias), gate (bias of an open gate), scale, offset, mean, var, table, token."""
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(size=tuple(shape))
    if kind == "w":
        z *= math.sqrt(gain / np.prod(shape[1:] if layout == "torch" else shape[:-1]))
    elif kind in ("b", "offset", "mean"):
        z *= 0.1
    elif kind in ("gate", "scale"):
        z = 2.0 + 0.5 * z if kind == "gate" else 1.0 + 0.1 * z
    elif kind == "var":
        z = np.exp(0.2 * z)
    else:
        assert kind in ("table", "token")
        z *= gain
    return z.astype(np.float32)


@functools.cache
def _about() -> dict:
    return json.loads(gzip.decompress((GOLDEN / "others.json.gz").read_bytes()))


def about(system: str) -> dict:
    """Source, layout, parameters ([name, shape, kind, gain]) and inputs of a system."""
    return _about()[system]


def weights(system: str, *prefixes: str) -> dict[str, np.ndarray]:
    """{name: array} of the parameters whose names begin with one of `prefixes`; without any, of all."""
    parts = about(system)
    drawn = (one for one in parts["parameters"] if one[0].startswith(prefixes or ""))
    return {name: array(name, shape, kind, gain, parts["layout"]) for name, shape, kind, gain in drawn}


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    return load("others")


def golden(system: str) -> dict[str, np.ndarray]:
    """{'eval/out' and the like: array} of a system."""
    return {name[len(system) + 1 :]: x for name, x in _arrays().items() if name.startswith(f"{system}/")}


def video(b: int, t: int, h: int, w: int, seed: int = 0) -> np.ndarray:
    """[b, t, h, w, 3] in [0, 1]: coarse blocks that move in time, plus noise; samples differ in contrast."""
    rs = np.random.RandomState(seed)
    base = rs.uniform(size=(b, -(-t // 2), -(-h // 8), -(-w // 8), 3)) > 0.5
    base = base.repeat(2, 1).repeat(8, 2).repeat(8, 3)[:, :t, :h, :w]
    x = 0.75 * base + 0.25 * rs.uniform(size=(b, t, h, w, 3))
    return (x * np.linspace(1.0, 0.4, b).reshape(-1, 1, 1, 1, 1)).astype(np.float32)


def spectrogram(b: int, t: int, f: int, seed: int = 0) -> np.ndarray:
    """[b, t, f, 1], smooth plus noise, about zero mean and unit scale."""
    rs = np.random.RandomState(seed)
    x = rs.standard_normal((b, -(-t // 8), -(-f // 8), 1)).repeat(8, 1).repeat(8, 2)[:, :t, :f]
    return (x + 0.5 * rs.standard_normal((b, t, f, 1))).astype(np.float32)


def waveform(b: int, n: int, seed: int = 0) -> np.ndarray:
    """[b, n] in [-1, 1]: a few tones and noise."""
    rs = np.random.RandomState(seed)
    time = np.arange(n) / 48000.0
    tones = [np.sin(2 * np.pi * time * rs.uniform(50, 4000, (b, 1)) + rs.uniform(0, 6, (b, 1))) for _ in range(4)]
    return (0.2 * sum(tones) + 0.05 * rs.standard_normal((b, n))).clip(-1, 1).astype(np.float32)


def words(b: int, w: int, vocabulary: int, seed: int = 0) -> np.ndarray:
    """[b, w] int32, 0 = padding; lengths w, w-4, w-8 ... at least 1, and the last row empty if b > 2."""
    x = np.random.RandomState(seed).randint(1, vocabulary, size=(b, w)).astype(np.int32)
    for i in range(b):
        x[i, max(1, w - 4 * i) :] = 0
    if b > 2:
        x[-1] = 0
    return x


def normal(shape, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


INPUTS = {"video": video, "spectrogram": spectrogram, "waveform": waveform, "words": words}


def zeros_for_kernels():
    """A context in which networks are built: drawing thirty million numbers that are replaced takes seconds."""
    return mock.patch.object(layers, "fan_in_normal", keras.initializers.Zeros)


def built(network, shape=None):
    """The network with zeros for kernels."""
    with zeros_for_kernels():
        network.build(shape)
    return network


def sized(network, shape=None):
    """The network built of shapes alone, without memory for them; returns it and its number of trainable parameters."""
    made = []

    def add_weight(layer, name=None, shape=(), trainable=True, **kwargs):
        made.append(math.prod(shape) if trainable else 0)
        return types.SimpleNamespace(name=name, shape=tuple(shape))

    with mock.patch.object(keras.layers.Layer, "add_weight", add_weight):
        network.build(shape)
    return network, sum(made)


def fill(entries, values) -> set[str]:
    """Gives the variables of `torch_names` entries their values; returns the names that were used."""
    used = set()
    for entry in entries:
        if entry.name in values or not entry.optional:
            assert values[entry.name].shape == entry.shape, entry.name
            entry.variable.assign(entry.ours(values[entry.name]))
            used.add(entry.name)
    return used


def fill_norm(norm, values, module: str) -> None:
    """A `BatchNorm` from arrays of the layout 'tf'."""
    for variable, leaf in zip((norm.scale, norm.offset, norm.moving_mean, norm.moving_variance), LEAVES, strict=True):
        variable.assign(values[f"{module}/{leaf}"])


LEAVES = ("scale", "offset", "mean", "var")


def assert_ends(ends, expected, mode: str, names: dict[str, str], tolerance: float) -> None:
    """Compares {our end point} with the arrays; `names` is {our name: theirs}, of those that are stored."""
    compared = 0
    for ours, theirs in names.items():
        found = np.asarray(ends[ours])
        for key in (f"{mode}/{theirs}/probes", f"{mode}/{theirs}"):
            if key in expected:
                values = found if found.shape == expected[key].shape else probes(found, len(expected[key]))
                assert_close(values, expected[key], tolerance, key)
                compared += 1
        if f"{mode}/{theirs}/shape" in expected:
            assert list(found.shape) == list(expected[f"{mode}/{theirs}/shape"]), theirs
    assert compared, f"nothing of {mode} is stored"
