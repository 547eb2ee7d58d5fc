"""The networks of the other systems: end points and outputs as their own libraries compute them, and their sizes.

Stored arrays and weights by name: `helpers.golden_others`. All networks of docs/networks.md were compared whole, with
gradients in float64; here is one for each mechanism, as drawing the weights of one takes a second.
"""

import pathlib

import numpy as np
import pytest

from helpers.golden_others import (
    about,
    assert_ends,
    built,
    fill,
    fill_norm,
    golden,
    sized,
    spectrogram,
    video,
    weights,
    words,
)
from helpers.golden_recipe import assert_close
from mmv_tf.backbones import I3D, S3D, PlainCNN, R2Plus1D, ResNetV1, TextNetwork, VideoResNet
from mmv_tf.backbones.batch_norm import KERAS, PYTORCH, BatchNorm
from mmv_tf.released import torch_names

PAGE = pathlib.Path(__file__).parents[2] / "docs/networks.md"
GROUPS = {f"group_{i}": f"layer{i + 1}" for i in range(4)}
VIDEO_RESNETS = {
    "mc3_18": {"convolution": "mixed"},
    "r3d_18": {"convolution": "3"},
    "r2plus1d_18": {},
    "xdc_r2plus1d_18": {"between": "own"},
    "r2plus1d_50": {"between": "own", "depth": 50},
}


def pytorch_norm(system: str) -> dict:
    return {"decay": 1 - about(system)["bn"]["momentum"], "epsilon": about(system)["bn"]["eps"], **PYTORCH}


@pytest.mark.parametrize("system", VIDEO_RESNETS)
def test_every_parameter_has_the_name_and_the_shape_of_the_reference(system):
    network, count = sized(VideoResNet(**VIDEO_RESNETS[system]))
    found = {entry.name: list(entry.shape) for entry in torch_names.video_resnet(network) if not entry.optional}
    assert found == {name: shape for name, shape, *_ in about(system)["parameters"]}
    assert count == about(system)["n_parameters"]


@pytest.mark.parametrize(
    ("network", "channels", "count", "classifier", "table"),
    [
        # (classes, the table's millions) of a table that counts convolutions and a classifier, but no batch norms.
        (lambda: VideoResNet(convolution="mixed"), 3, 11_490_240, 400, 11.7),
        (lambda: VideoResNet(between="own"), 3, 33_165_639, 400, 33.3),
        (lambda: VideoResNet(between="own", depth=50), 3, 46_165_457, 400, 46.9),
        (lambda: VideoResNet(between="own", depth=34), 3, 63_491_975, None, None),
        (lambda: VideoResNet(depth=34), 3, 61_626_461, None, None),
        (lambda: VideoResNet(depth=50, convolution="slow"), 3, 31_672_128, None, None),
        (lambda: ResNetV1(), 3, 23_508_032, None, None),
        (lambda: ResNetV1(width=2), 3, 93_907_072, None, None),
        (lambda: ResNetV1(width=4), 3, 375_378_176, None, None),
        (lambda: S3D("rgb"), 3, 9_162_704, None, None),
        (lambda: R2Plus1D(), 3, 33_165_639, None, None),
        (lambda: ResNetV1(depth=9), 1, 4_899_520, None, None),
        (lambda: PlainCNN(), 1, 4_764_096, None, None),
    ],
)
def test_counts_of_the_tables(network, channels, count, classifier, table):
    made, found = sized(network(), (None, None, None, channels) if channels == 1 else None)
    assert found == count
    assert f"{count:,}" in PAGE.read_text("utf-8")
    if classifier:
        norms = sum(2 * layer.scale.shape[0] for layer in made._flatten_layers() if isinstance(layer, BatchNorm))
        assert round((found - norms + (made.output_dim + 1) * classifier) / 1e6, 1) == table


@pytest.mark.parametrize("system", ["mc3_18", "xdc_r2plus1d_18"])
def test_video_resnet_equals_torchvision_and_xdc(system):
    network = built(VideoResNet(norm=pytorch_norm(system), **VIDEO_RESNETS[system]))
    values, expected = weights(system), golden(system)
    assert fill(torch_names.video_resnet(network), values) == set(values)
    x = video(*about(system)["input"]["args"])
    names = {"stem": "stem", **GROUPS, "embedding": "out"}
    if system == "mc3_18":
        assert_ends(network.endpoints(x), expected, "eval", names, 2e-5)
    assert_ends(network.endpoints(x, training=True), expected, "train", names, 2e-4)
    # The reference's averages after a step: its momentum, and the unbiased variance.
    y, old = np.asarray(network.stem[0].conv(x), np.float64), values["stem.1.running_var"]
    decay = 1 - about(system)["bn"]["momentum"]
    variance = decay * old + (1 - decay) * y.var((0, 1, 2, 3), ddof=1)
    assert_close(network.stem[0].norm.moving_variance, variance, 1e-5)


def test_the_sound_network_of_gdt():
    values, expected = weights("gdt_net", "audio_network"), golden("gdt_net")
    sound = ResNetV1(depth=9, norm=PYTORCH)
    fill(torch_names.resnet_v1(built(sound, (None, None, None, 1)), "audio_network.base."), values)
    x = spectrogram(*about("gdt_net")["input"]["audio"][1])
    names = {"stem": "audio_network.base.maxpool", **{o: f"audio_network.base.{t}" for o, t in GROUPS.items()}}
    names["embedding"] = "audio_repr"
    assert_ends(sound.endpoints(x), expected, "eval", names, 2e-5)
    assert_ends(sound.endpoints(x, training=True), expected, "train", names, 1e-3)


def test_cvrl():
    network = built(VideoResNet(depth=50, convolution="slow", padding="same", norm=KERAS))
    values, expected = weights("cvrl_net", "stem", "group"), golden("cvrl_net")
    modules = {"conv_0": "temporal", "conv_1": "spatial", "conv_2": "expand"}
    convs = {"stem/": network.stem[0]}
    for i, blocks in enumerate(network.groups):
        for j, block in enumerate(blocks):
            convs |= {f"group{i + 2}/block{j}/{modules[conv.name]}_": conv for conv in block.convs}
            convs |= {f"group{i + 2}/block{j}/shortcut_": block.shortcut} if block.shortcut is not None else {}
    for module, conv in convs.items():
        conv.conv.kernel.assign(values[f"{module}conv/w"])
        fill_norm(conv.norm, values, f"{module}bn")
    x = video(*about("cvrl_net")["input"]["video"][1])
    names = {**{f"group_{i}": f"level{i + 2}" for i in range(4)}, "embedding": "repr"}
    assert_ends(network.endpoints(x, training=True), expected, "train", names, 5e-4)
    assert_close(network.stem[0].norm.moving_mean, expected["train/stem_bn_moving_mean"], 1e-5)


def test_simclr():
    network = built(ResNetV1(pool_padding="same", norm=KERAS), (None, None, None, 3))
    values, expected = weights("simclr_net", "stem", "group"), golden("simclr_net")
    convs = {("stem/conv", "stem/bn"): network.stem}
    for i, blocks in enumerate(network.groups):
        for j, block in enumerate(blocks):
            module = f"group{i + 1}/block{j}/"
            convs |= {(f"{module}conv{k}", f"{module}bn{k}"): conv for k, conv in enumerate(block.convs)}
            if block.shortcut is not None:
                convs[f"{module}shortcut_conv", f"{module}shortcut_bn"] = block.shortcut
    for (conv_name, norm_name), conv in convs.items():
        conv.conv.kernel.assign(values[f"{conv_name}/w"])
        fill_norm(conv.norm, values, norm_name)
    clip = video(*about("simclr_net")["input"]["image"][1])
    names = {"stem": "stem", **{f"group_{i}": f"group{i + 1}" for i in range(4)}, "embedding": "repr"}
    # A clip of one frame is an image.
    assert_ends(network.endpoints(clip), expected, "eval", {"embedding": "repr"}, 2e-5)
    assert_ends(network.endpoints(clip[:, 0], training=True), expected, "train", names, 5e-3)


@pytest.mark.parametrize(
    ("system", "stem"), [("milnce_s3d_train_rgb", "rgb_3x7x7"), ("milnce_s3d_released_s2d", "space_to_depth")]
)
def test_s3d_has_the_parameters_of_milnce(system, stem):
    network, count = sized(S3D(stem=stem))
    found = {entry.name: list(entry.shape) for entry in torch_names.s3d(network) if not entry.optional}
    theirs = {name: shape for name, shape, *_ in about(system)["parameters"]}
    assert found == {n: s for n, s in theirs.items() if not n.startswith(("fc.", "text_module."))}
    fc = 512 * 1024 + 512
    assert count + fc == about(system)["n_parameters_reference"]["video"]


def test_s3d_with_an_rgb_stem_equals_milnce():
    system = "milnce_s3d_train_rgb"
    # As far as the first block behind the last pool over time that does not divide the size.
    values = {
        name: x for part in ("conv", "gating.", "mixed_3", "mixed_4b") for name, x in weights(system, part).items()
    }
    expected = golden(system)
    network = built(S3D(stem="rgb_3x7x7", padding="even", norm=PYTORCH, final_endpoint="Mixed_4b"))
    fill(torch_names.s3d(network), values)
    x = video(*about(system)["input"]["video"][1])
    names = {"Conv2d_1a_7x7": "conv1", "MaxPool_2a_3x3": "maxpool_2a", "Conv2d_2c_3x3": "gating"}
    names |= {"MaxPool_4a_3x3": "maxpool_4a", "Mixed_4b": "mixed_4b"}
    assert_ends(network.endpoints(x), expected, "eval", names, 2e-5)
    assert_ends(network.endpoints(x, training=True), expected, "train", names, 2e-3)


def test_batch_statistics_of_the_space_to_depth_stem_are_those_of_milnce():
    system = "milnce_s3d_released_s2d"
    values = weights(system, "conv", "gating.")
    network = built(S3D(padding="even", norm=PYTORCH, final_endpoint="Conv2d_2c_3x3"))
    fill(torch_names.s3d(network), values)
    x = video(*about(system)["input"]["video"][1])
    for mode, tolerance in (("eval", 2e-5), ("train", 5e-4)):
        ends = network.endpoints(x, training=mode == "train")
        assert_ends(ends, golden(system), mode, {"Conv2d_2c_3x3": "gating"}, tolerance)


def test_text_network_equals_milnce():
    values, expected = weights("milnce_s3d_train_rgb", "text_module."), golden("milnce_s3d_train_rgb")
    network = TextNetwork(vocabulary_size=1000)
    network.build(None)
    fill(torch_names.text_network(network, "text_module."), values)
    found = np.asarray(network(words(*about("milnce_s3d_train_rgb")["input"]["words"][1])))
    found = found @ values["text_module.fc2.weight"].T + values["text_module.fc2.bias"]
    assert_close(found, expected["eval/text_embedding"], 2e-5)


def test_i3d():
    assert sized(I3D())[1] == about("i3d")["n_parameters"]
    network, expected = built(I3D(norm=KERAS, final_endpoint="Mixed_3b")), golden("i3d")
    values = weights("i3d", "conv_", "mixed_3b")
    names = {"Conv2d_1a_7x7": "conv_1a", "MaxPool_2a_3x3": "pool_2a", "Conv2d_2b_1x1": "conv_2b"}
    names |= {"Conv2d_2c_3x3": "conv_2c", "MaxPool_3a_3x3": "pool_3a", "Mixed_3b": "mixed_3b"}
    units = {theirs: network.stages[ours] for ours, theirs in names.items() if theirs.startswith("conv")}
    branches = (["b0"], ["b1_0", "b1_1"], ["b2_0", "b2_1"], ["b3_1"])
    for branch, theirs in zip(network.stages["Mixed_3b"].branches, branches, strict=True):
        units |= {f"mixed_3b/{name}": unit for name, unit in zip(theirs, branch, strict=True)}
    for module, unit in units.items():
        unit.convs[0].conv.kernel.assign(values[f"{module}/w"])
        fill_norm(unit.convs[0].norm, values, module)
    x = video(*about("i3d")["input"]["video"][1])
    assert_ends(network.endpoints(x), expected, "eval", names, 2e-5)
    assert_ends(network.endpoints(x, training=True), expected, "train", names, 5e-3)
    assert_close(network.stages["Conv2d_1a_7x7"].convs[0].norm.moving_mean, expected["train/conv_1a_moving_mean"], 1e-5)
