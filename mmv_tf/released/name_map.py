"""The place of each variable of ours in the tree of the released networks (deepmind-research/mmv, haiku).

A name of theirs is a module name + '/' + a leaf: 'w', 'b', 'scale', 'offset', 'embeddings' among the parameters, and
'average', 'hidden', 'counter' in the state. One small generator a network yields the entries; nothing is derived from
the names of our variables.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras

ROOT = "text_audio_video"
VISUAL, AUDIO, TEXT = f"{ROOT}/visual_module/~", f"{ROOT}/audio_module/~", f"{ROOT}/text_module/~"
HEADS = f"{ROOT}/~_get_pair_embedding_heads"
# The head of our graph -> the module of theirs, for the graphs of gin/graphs.
FAC = {"video -> va": "vid2audio_embd", "va -> vat": "vis_embd", "audio -> va": "audio_embd", "text -> vat": "txt_embd"}
DISJOINT = {
    "video -> va": "vid2audio_embd",
    "video -> vt": "vis_embd",
    "audio -> va": "audio_embd",
    "text -> vt": "txt_embd",
}
SHARED = {"video -> s": "vis_embd", "audio -> s": "audio_embd", "text -> s": "txt_embd"}
# Heads of the released networks that no pair ever trained or used; a converter passes them over.
UNTRAINED_HEADS = ("audio2txt_embd", "txt2audio_embd")


class Entry(NamedTuple):
    """One array of the released tree.

    Attributes:
      name: module name + '/' + leaf.
      shape: as stored there, with the broadcast dimensions that ours lack; the values lie in the same order.
      variable: ours, or None where the array tells nothing more (the undebiased average, the second counter).
    """

    name: str
    shape: tuple[int, ...]
    variable: keras.Variable | None


def s3d(net, prefix: str = VISUAL) -> Iterator[Entry]:
    """`backbones.S3D`."""
    for name, stage in net.stages.items():
        if hasattr(stage, "convs"):
            yield from unit(f"{prefix}/S3D/{name}", stage)
        elif hasattr(stage, "branches"):
            yield from mixed(f"{prefix}/S3D/{name}", stage)


def mixed(module: str, layer) -> Iterator[Entry]:
    """`inception.Mixed`."""
    for branch in layer.branches:
        for part in branch:
            yield from unit(f"{module}/{part.name}", part)


def unit(module: str, layer) -> Iterator[Entry]:
    """`inception.Unit`."""
    for i, conv in enumerate(layer.convs):
        suffix = f"_{i}" if i else ""
        yield _weight(f"{module}/~/conv3_d{suffix}/w", conv.conv.kernel)
        yield from _batch_norm(f"{module}/__cross_replica_batch_norm{suffix}", conv.norm, rank=5)
    if layer.gate is not None:
        yield from _dense(f"{module}/self_gating", layer.gate)


def tsm_resnet(net, prefix: str = VISUAL) -> Iterator[Entry]:
    """`backbones.TSMResNet`."""
    module = f"{prefix}/TSMResNetV2"
    yield _weight(f"{module}/tsm_resnet_stem/w", net.stem.kernel)
    for i, blocks in enumerate(net.groups):
        for j, layer in enumerate(blocks):
            name = f"{module}/tsm_resnet_unit_{i}/block_{j}"
            yield from block(name, name, layer)
    yield from _batch_norm(f"{module}/__cross_replica_batch_norm", net.norm, rank=4)


def audio_resnet(net, prefix: str = AUDIO) -> Iterator[Entry]:
    """`backbones.AudioResNet` of a depth with bottlenecks."""
    module = f"{prefix}/res_net_v2"
    yield _weight(f"{module}/~/initial_conv/w", net.stem.kernel)
    for i, blocks in enumerate(net.groups):
        for j, layer in enumerate(blocks):
            name = f"{module}/~/block_group_{i}/block_{j}"
            yield from block(name, f"{name}/~", layer)
    yield from _batch_norm(f"{module}/__cross_replica_batch_norm", net.norm, rank=4)


def block(module: str, convs: str, layer) -> Iterator[Entry]:
    """`residual.Block`; `convs` is the module that holds the convolutions, `module` the one of the batch norms."""
    for i, conv in enumerate(layer.convs):
        yield _weight(f"{convs}/conv_{i}/w", conv.conv.kernel)
    yield _weight(f"{convs}/conv_{len(layer.convs)}/w", layer.last.kernel)
    if layer.shortcut is not None:
        yield _weight(f"{convs}/shortcut_conv/w", layer.shortcut.kernel)
    for i, norm in enumerate([layer.norm, *(conv.norm for conv in layer.convs)]):
        yield from _batch_norm(f"{module}/__cross_replica_batch_norm{f'_{i}' if i else ''}", norm, rank=4)


def text_network(net, prefix: str = TEXT) -> Iterator[Entry]:
    """`backbones.TextNetwork`."""
    yield _weight(f"{prefix}/embed/embeddings", net.embeddings)
    kernel = net.dense.kernel
    yield Entry(f"{prefix}/text_conv1/w", (1, *kernel.shape), kernel)  # there a convolution of width 1
    yield _weight(f"{prefix}/text_conv1/b", net.dense.bias)


def head(layer, module: str) -> Iterator[Entry]:
    """`heads.ProjectionHead`, `module` being its full name; without the activation's batch norm of 'bnrelu'."""
    for i, dense in enumerate(layer.hidden):
        yield from _dense(f"{module}/final_projection_inner{f'_{i}' if i else ''}", dense)
    yield from _dense(f"{module}/final_projection", layer.projection)
    for i, norm in enumerate([*layer.hidden_norms, *([layer.norm] if layer.norm else [])]):
        yield from _batch_norm(f"{module}/__cross_replica_batch_norm{f'_{i}' if i else ''}", norm, rank=2)


BACKBONES = {"S3D": s3d, "TSMResNet": tsm_resnet, "AudioResNet": audio_resnet, "TextNetwork": text_network}


def backbone(net) -> Iterator[Entry]:
    """The entries of any backbone that the released networks have, by its class.

    Raises:
      ValueError: there are no released weights for that class.
    """
    name = type(net).__name__
    if name not in BACKBONES:
        raise ValueError(f"There are no released weights for {name}; there are for {', '.join(BACKBONES)}.")
    return BACKBONES[name](net)


def model(mmv, heads: Mapping[str, str] = FAC) -> Iterator[Entry]:
    """All of an `MMV` whose layers are built.

    Args:
      mmv: the model.
      heads: {'source -> space' of its graph: name of the head there}.
    """
    for net in mmv.backbones.values():
        yield from backbone(net)
    for name, layer in mmv.heads.items():
        yield from head(layer, f"{HEADS}/{heads[name]}")
        if layer.activation_norm is not None:
            module = f"{ROOT}/~_activate_interaction/__cross_replica_batch_norm"
            yield from _batch_norm(module, layer.activation_norm, rank=2)


def _dense(module: str, layer) -> Iterator[Entry]:
    yield _weight(f"{module}/w", layer.kernel)
    if layer.use_bias:
        yield _weight(f"{module}/b", layer.bias)


def _batch_norm(module: str, layer, rank: int) -> Iterator[Entry]:
    shape = (*(1,) * (rank - 1), layer.scale.shape[0])
    yield Entry(f"{module}/scale", shape, layer.scale)
    yield Entry(f"{module}/offset", shape, layer.offset)
    yield Entry(f"{module}/~/mean_ema/average", shape, layer.moving_mean)
    yield Entry(f"{module}/~/var_ema/average", shape, layer.moving_variance)
    yield Entry(f"{module}/~/mean_ema/counter", (), layer.counter)
    yield Entry(f"{module}/~/var_ema/counter", (), None)
    yield Entry(f"{module}/~/mean_ema/hidden", shape, None)
    yield Entry(f"{module}/~/var_ema/hidden", shape, None)


def _weight(name: str, variable) -> Entry:
    return Entry(name, tuple(variable.shape), variable)
