"""Networks of the tables without released weights: values against plain TensorFlow, and those of before."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

from helpers.golden_others import built
from helpers.golden_recipe import assert_close, unit_input
from mmv_tf.backbones import I3D, S3D, R2Plus1D, ResNetV1, VideoResNet
from mmv_tf.backbones.video_resnet import Block, Kind, factored_channels
from mmv_tf.model.cost import multiply_adds

# The first of 64 numbers, in float64. Those of the code before `VideoResNet`, in float32, were the same to 1.3e-5.
EVALUATED = [0, 0.66511358, 4.4035098, 0.64484112, 0.53634979, 1.2379911, 5.9661689, 3.9283211]
TRAINED = [1.1880231, 0.31168592, 0.60589645, 1.3922536, 0.91787917, 0.61211968, 0.97732754, 0.86557868]
AVERAGED = [-0.2279702, 0.21468555, -0.18537895, -0.47906574, 0.15417633, -0.38688945, 0.14283529, -0.61061385]


@pytest.mark.parametrize(("inputs", "outputs", "expected"), [(64, 64, 144), (64, 128, 230), (512, 512, 1152)])
def test_factored_convolution_has_the_weights_of_the_full_one(inputs, outputs, expected):
    middle = factored_channels(inputs, outputs)
    assert middle == expected  # 144, 230 and 1152 also in torchvision
    assert 0 <= 27 * inputs * outputs - middle * (9 * inputs + 3 * outputs) < 9 * inputs + 3 * outputs


def test_r2plus1d_block_equals_plain_tensorflow():
    x = tf.constant(unit_input("x", (2, 5, 7, 6, 8)))
    block = Block(8, Kind(factored=True).basic(8, 16, 2, "own"))

    def step(y, part, strides, relu=True):
        y = tf.nn.conv3d(y, part.conv.kernel.value, [1, *strides, 1], "SAME")
        mean, variance = tf.nn.moments(y, [0, 1, 2, 3])
        y = (y - mean) / tf.sqrt(variance + 1e-5)
        return tf.nn.relu(y) if relu else y

    outputs = block(x, training=True)
    y = step(x, block.convs[0], (1, 2, 2))
    y = step(y, block.convs[1], (2, 1, 1))
    y = step(y, block.convs[2], (1, 1, 1))
    y = step(y, block.convs[3], (1, 1, 1), relu=False)
    shortcut = step(x, block.shortcut, (2, 2, 2), relu=False)
    assert outputs.shape == (2, 3, 4, 3, 16)
    assert_close(outputs, tf.nn.relu(y + shortcut), 1e-5)


@pytest.mark.parametrize(
    ("make", "options"), [(I3D, {"final_endpoint": "MaxPool_5a_2x2"}), (R2Plus1D, {}), (ResNetV1, {"depth": 9})]
)
def test_odd_sizes_and_unknown_shapes(make, options):
    network = make(width=0.125, **options)
    video = unit_input("video", (2, 3, 33, 31, 3))
    unknown = tf.function(network, input_signature=[tf.TensorSpec([None, None, None, None, 3])])
    expected = network(video)
    assert expected.shape == (2, network.output_dim)
    assert_close(unknown(video), expected, 1e-5)


@pytest.mark.parametrize(
    ("depth", "digest"),
    [
        (18, "caa8dd2c4689f4c4619ea1c6ad82c4c9727f246adfe7a88560221c671db6d945"),
        (34, "5d2e47913074ec7e31148def5e710512c8247c6887075f421ef51f699b10567e"),
    ],
)
def test_variables_of_r2plus1d_are_those_of_version_0_1(depth, digest):
    """By their names checkpoints of before are restored; the digest is of the code before `VideoResNet`."""
    network = built(R2Plus1D(depth, width=0.125))
    listed = [[v.path.partition("/")[2], list(v.shape)] for v in network.variables]
    assert hashlib.sha256(json.dumps(listed).encode()).hexdigest() == digest


def test_outputs_of_r2plus1d_are_those_of_version_0_1():
    network = built(R2Plus1D(width=0.125, dtype="float64"))
    for v in network.variables:
        values = unit_input(v.path.partition("/")[2], v.shape)
        if v.name == "kernel":
            v.assign(values * np.float32(np.sqrt(2 / np.prod(v.shape[:-1]))))
        elif v.name != "counter":
            v.assign(1 + 0.1 * abs(values) if v.name in ("scale", "moving_variance") else 0.1 * values)
    x = unit_input("r2plus1d/video", (2, 5, 33, 31, 3))
    assert_close(network(x)[0, :8], EVALUATED, 1e-7)
    assert_close(network(x, training=True)[1, :8], TRAINED, 1e-7)
    assert_close(network.groups[3][1].convs[3].norm.moving_mean[:8], AVERAGED, 1e-7)


def test_endpoints_of_r2plus1d():
    ends = R2Plus1D(width=0.125).endpoints(np.zeros((1, 8, 32, 32, 3), np.float32))
    sizes = [(8, 16, 16, 8), (8, 16, 16, 8), (4, 8, 8, 16), (2, 4, 4, 32), (1, 2, 2, 64)]
    assert [tuple(end.shape[1:]) for end in ends.values() if len(end.shape) == 5] == sizes


def test_multiply_adds():
    # The space-to-depth stem: 8*16*16 positions, 64 channels, 2*4*4*24 weights each.
    network = S3D(final_endpoint="Conv2d_1a_7x7")
    network.build(None)
    assert multiply_adds(network, tf.TensorSpec((1, 16, 32, 32, 3))) == 8 * 16 * 16 * 64 * 2 * 4 * 4 * 24
    with pytest.raises(ValueError, match="give inputs of fixed sizes"):
        multiply_adds(network, tf.TensorSpec((None, 16, 32, 32, 3)))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="R2Plus1D.depth = 101: must be 18, 34 or 50"):
        R2Plus1D(101)
    with pytest.raises(ValueError, match="VideoResNet.convolution = 'slow' has bottlenecks: depth must be 50, not 18"):
        VideoResNet(convolution="slow")
    with pytest.raises(ValueError, match=r"norm = {'eps': 1}: 'eps' is no setting of BatchNorm: decay, epsilon, "):
        VideoResNet(norm={"eps": 1})
    with pytest.raises(ValueError, match="VideoResNet.norm = .*'decay', 'x', must be a number or True or False"):
        VideoResNet(norm={"decay": "x"})
    with pytest.raises(ValueError, match=r"ResNetV1 takes log-mel \[B,T,M,1\], not \(1, 32, 32, 3\)"):
        built(ResNetV1(9, width=0.125), (None, None, None, 1))(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(ValueError, match="I3D.final_endpoint = 'Logits': must be 'Conv2d_1a_7x7', "):
        I3D(final_endpoint="Logits")
