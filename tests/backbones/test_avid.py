"""AVID's networks: the numbers that the published ones give for the same weights."""

import keras
import numpy as np
import pytest

from helpers.avid_arrays import arrays
from helpers.golden_others import array, assert_ends, built, sized, spectrogram, video
from helpers.golden_recipe import assert_close
from mmv_tf.backbones import AVIDAudio, AVIDVideo
from mmv_tf.backbones.batch_norm import PYTORCH, BatchNorm
from mmv_tf.common import config
from mmv_tf.model.graph import Graph
from mmv_tf.model.heads import ProjectionHead

NORM = {"decay": 0.9, "epsilon": 1e-5, **PYTORCH}
SPACE = {"conv_0_space": "spt_{}1", "conv_0_time": "tmp_{}1", "conv_1_space": "spt_{}2"}


def _kernel(conv, name, gain=2.0):
    *extents, inputs, outputs = conv.kernel.shape
    values = array(f"{name}.weight", (outputs, inputs, *extents), "w", gain)
    conv.kernel.assign(np.moveaxis(values, (0, 1), (-1, -2)))


def _norm(norm: BatchNorm, name):
    leaves = {"weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "var"}
    parts = (norm.scale, norm.offset, norm.moving_mean, norm.moving_variance)
    for variable, (leaf, kind) in zip(parts, leaves.items(), strict=True):
        variable.assign(array(f"{name}.{leaf}", variable.shape, kind))


def _video():
    network = built(AVIDVideo(norm=NORM))
    _kernel(network.stem.conv, "video_model.conv1.0")
    _norm(network.stem.norm, "video_model.conv1.1")
    for group, blocks in enumerate(network.groups):
        for number, block in enumerate(blocks):
            place = f"video_model.conv{group + 2}x.{number}."
            for conv, (_, theirs) in zip(block.convs, SPACE.items(), strict=True):
                _kernel(conv.conv, place + theirs.format("conv"))
                _norm(conv.norm, place + theirs.format("bn"))
            _kernel(block.last, f"{place}tmp_conv2", 0.5)
            _norm(block.norm, f"{place}out_bn")
            if block.shortcut is not None:
                _kernel(block.shortcut, f"{place}res_conv")
    return network, video(2, 8, 48, 48, 51)


def _audio():
    network = built(AVIDAudio(norm=NORM))
    _kernel(network.stem.conv, "audio_model.conv1.0")
    _norm(network.stem.norm, "audio_model.conv1.1")
    for group, convs in enumerate(network.groups):
        for number, conv in enumerate(convs):
            _kernel(conv.conv, f"audio_model.block{group + 1}.conv{number + 1}")
            _norm(conv.norm, f"audio_model.block{group + 1}.bn{number + 1}")
    return network, spectrogram(2, 200, 257, 51)


@pytest.mark.parametrize(("make", "modality"), [(_video, "video"), (_audio, "audio")])
def test_equals_the_reference(make, modality):
    network, x = make()
    expected = {n.removeprefix("net/").replace(f"/{modality}/", "/"): a for n, a in arrays().items() if "net/" in n}
    names = {f"group_{i}": f"conv{i + 2}x" for i in range(4)}
    for mode, tolerance in (("eval", 2e-4), ("train", 1e-3)):
        ends = network.endpoints(keras.ops.convert_to_tensor(x), training=mode == "train")
        there = {n: k for n, k in names.items() if f"{mode}/{k}/probes" in expected}
        here = {n: a for n, a in expected.items() if f"net/{n.replace('/', f'/{modality}/', 1)}" in arrays()}
        assert_ends(ends, here, mode, there, tolerance)
        assert_close(ends["embedding"], arrays()[f"net/{mode}/{modality}_repr"], tolerance, mode)
        assert len(there) == 4


@pytest.mark.parametrize(
    ("network", "channels", "axes", "count"),
    [(AVIDVideo, 3, 5, 15_379_136), (AVIDAudio, 1, 4, 4_725_696)],
)
def test_sizes(network, channels, axes, count):
    made, found = sized(network(), (None,) * (axes - 1) + (channels,))
    assert found == count and made.output_dim == 512
    again = network.from_config(network(width=0.125).get_config())
    assert again.output_dim == 64
    with pytest.raises(ValueError, match=f"{network.__name__} takes"):
        made(np.zeros((1, 8, 8, 7) if axes == 4 else (1, 8, 8, 8, 7), np.float32))


def test_the_video_network_is_one_of_images_too():
    network = AVIDVideo(10, width=0.125)
    assert network(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 64) and network.for_images


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_the_heads_of_the_graph_are_those_of_the_reference(modality):
    """gin/systems/avid.gin: three dense layers with a ReLU between, as three heads."""
    config.parse(["gin/systems/avid.gin"])
    graph = Graph()
    x, made = arrays()[f"net/eval/{modality}_repr"], []
    for number, head in enumerate(graph.path(modality, "va")):
        layer = ProjectionHead(head, graph.spaces[head.space])
        layer(x)  # makes the weights
        name, (inputs, outputs) = f"{modality}_proj.projection.{2 * number}", layer.projection.kernel.shape
        layer.projection.kernel.assign(array(f"{name}.weight", (outputs, inputs), "w").T)
        layer.projection.bias.assign(array(f"{name}.bias", (outputs,), "b"))
        x = layer(x)
        made.append(layer.count_params())
    assert sum(made) == 590_976
    assert_close(x, arrays()[f"net/eval/{modality}_embedding"], 1e-5, modality)
