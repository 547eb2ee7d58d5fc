"""The place of each variable of ours in the PyTorch networks whose weights are published.

A name of theirs is a path of modules + '.' + 'weight', 'bias', 'running_mean', 'running_var' or
'num_batches_tracked'. One small generator a network yields the entries; nothing is derived from the names of our
variables but which convolution of a block one is.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np


class Entry(NamedTuple):
    """One tensor of a state dict.

    Attributes:
      name: in the state dict.
      variable: ours.
      axes: the order in which ours has their axes; None: as they are.
      optional: a file may lack it.
    """

    name: str
    variable: keras.Variable
    axes: tuple[int, ...] | None = None
    optional: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor in the file."""
        ours = tuple(self.variable.shape)
        return ours if self.axes is None else tuple(ours[self.axes.index(axis)] for axis in range(len(ours)))

    def ours(self, tensor: np.ndarray) -> np.ndarray:
        """The values of a tensor of `shape` in our order."""
        return tensor if self.axes is None else tensor.transpose(self.axes)


def video_resnet(net, prefix: str = "") -> Iterator[Entry]:
    """`backbones.VideoResNet`, as torchvision, GDT and XDC name its parts; not of convolution 'slow'."""
    for i, conv in enumerate(net.stem):
        yield from _conv_norm(f"{prefix}stem.{3 * i}", f"{prefix}stem.{3 * i + 1}", conv)
    for i, blocks in enumerate(net.groups):
        for j, block in enumerate(blocks):
            module = f"{prefix}layer{i + 1}.{j}."
            for conv in block.convs:
                number, half = re.fullmatch(r"conv_(\d)(|_space|_time)", conv.name).groups()
                inner = f"{module}conv{int(number) + 1}"
                names = {"": (".0", ".1"), "_space": (".0.0", ".0.1"), "_time": (".0.3", ".1")}[half]
                yield from _conv_norm(*(inner + name for name in names), conv)
            if block.shortcut is not None:
                yield from _conv_norm(f"{module}downsample.0", f"{module}downsample.1", block.shortcut)


def resnet_v1(net, prefix: str = "") -> Iterator[Entry]:
    """`backbones.ResNetV1`, as torchvision names its parts; sounds have their axes the other way round: mel, time."""
    swapped = net.channels == 1
    yield from _conv_norm(f"{prefix}conv1", f"{prefix}bn1", net.stem, swapped)
    for i, blocks in enumerate(net.groups):
        for j, block in enumerate(blocks):
            module = f"{prefix}layer{i + 1}.{j}."
            for k, conv in enumerate(block.convs, 1):
                yield from _conv_norm(f"{module}conv{k}", f"{module}bn{k}", conv, swapped)
            if block.shortcut is not None:
                yield from _conv_norm(f"{module}downsample.0", f"{module}downsample.1", block.shortcut, swapped)


def s3d(net, prefix: str = "") -> Iterator[Entry]:
    """`backbones.S3D`, as MIL-NCE's networks name its parts (s3dg.py)."""
    for name, stage in net.stages.items():
        number = name.split("_")[1]
        if hasattr(stage, "convs"):
            module = f"{prefix}conv1" if number == "1a" else f"{prefix}conv_{number}"
            yield from _unit(module, f"{prefix}gating.fc", stage)
        elif hasattr(stage, "branches"):
            for i, branch in enumerate(stage.branches):
                letters = {0: [""], 3: ["_b"]}.get(i, ["_a", "_b"])
                for letter, unit in zip(letters, branch, strict=True):
                    module = f"{prefix}mixed_{number}"
                    yield from _unit(f"{module}.conv_b{i}{letter}", f"{module}.gating_b{i}.fc", unit)


def text_network(net, prefix: str) -> Iterator[Entry]:
    """`backbones.TextNetwork`, as MIL-NCE's `Sentence_Embedding` names its parts."""
    yield Entry(f"{prefix}word_embd.weight", net.embeddings)
    yield from dense(f"{prefix}fc1", net.dense)


def head(layer, first: str, norm: str, last: str) -> Iterator[Entry]:
    """`heads.ProjectionHead` with one hidden layer: the modules of its dense layers and of the batch norm between."""
    yield from dense(first, layer.hidden[0], optional_bias=True)
    yield from _norm(norm, layer.hidden_norms[0])
    yield from dense(last, layer.projection)


def dense(module: str, layer, optional_bias: bool = False) -> Iterator[Entry]:
    """A dense layer."""
    yield Entry(f"{module}.weight", layer.kernel, (1, 0))
    if layer.use_bias:
        yield Entry(f"{module}.bias", layer.bias, optional=optional_bias)


def _unit(module: str, gate: str, layer) -> Iterator[Entry]:
    for i, conv in enumerate(layer.convs, 1):
        yield from _conv_norm(f"{module}.conv{i}", f"{module}.bn{i}", conv)
    if layer.gate is not None:
        yield from dense(gate, layer.gate)


def _conv_norm(conv: str, norm: str, layer, swapped: bool = False) -> Iterator[Entry]:
    kernel = layer.conv.kernel
    extents = range(2, len(kernel.shape))
    yield Entry(f"{conv}.weight", kernel, (*(reversed(extents) if swapped else extents), 1, 0))
    yield from _norm(norm, layer.norm)


def _norm(module: str, layer) -> Iterator[Entry]:
    yield Entry(f"{module}.weight", layer.scale)
    yield Entry(f"{module}.bias", layer.offset)
    yield Entry(f"{module}.running_mean", layer.moving_mean)
    yield Entry(f"{module}.running_var", layer.moving_variance)
    yield Entry(f"{module}.num_batches_tracked", layer.counter, optional=True)
