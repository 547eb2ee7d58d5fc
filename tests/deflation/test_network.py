"""Image networks made of video networks: against the released networks' arrays, and against static clips."""

import functools

import gin
import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from helpers.golden_recipe import assert_close, assign, load, make_inputs, unit_input
from mmv_tf.backbones import I3D, S3D, R2Plus1D, TSMResNet, VideoTokens, VideoTransformer
from mmv_tf.deflation.network import Inflated, deflate
from mmv_tf.deflation.training import trained_variables
from mmv_tf.model.cost import multiply_adds
from mmv_tf.released import name_map

MAKES = {
    "s3d_rgb": lambda: S3D("rgb", width=0.125, final_endpoint="Mixed_4b"),
    "s3d_s2d": lambda: S3D(width=0.125, final_endpoint="Mixed_4b"),
    "i3d": lambda: I3D(width=0.125, final_endpoint="Mixed_4b"),
    "r2plus1d": lambda: R2Plus1D(width=0.125),
    "tsm": lambda: TSMResNet(18, width=0.125),
    "tsm_without_shift": lambda: TSMResNet(18, width=0.125, shift_fraction=0),
}


@functools.cache
def _built(name):
    """(one of `MAKES`, its values: all drawn, moving averages and offsets as those of a trained network)."""
    network, values = MAKES[name](), []
    network.build(None)
    for number, variable in enumerate(network.variables):
        noise = 0.2 * unit_input(f"{name}/{number}", variable.shape)
        if variable.name in ("scale", "moving_variance"):
            noise = np.exp(noise)
        elif variable.name not in ("offset", "moving_mean", "bias"):
            noise = variable.numpy()
        values.append(noise)
    return network, values


def random_network(name):
    """One of `MAKES`, built once for all tests, with the values that it had then."""
    network, values = _built(name)
    for variable, value in zip(network.variables, values, strict=True):
        variable.assign(value)
    return network


def without_gates(name):
    """Such a network whose gates let everything pass alike: they see the ends of a clip as well."""
    network = random_network(name)
    for variable in network.variables:
        if "gate/kernel" in variable.path:
            variable.assign(np.zeros(variable.shape))
    return network


@functools.cache
def image_of(name):
    """The image network of one `without_gates`, made once for all tests."""
    return deflate(without_gates(name))


def relative(actual, expected):
    return np.linalg.norm(np.subtract(actual, expected)) / np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("golden", "make", "entries", "frames", "distance"),
    [
        ("s3d_rgb", lambda: S3D("rgb"), name_map.s3d, 16, 0.301760),
        ("s3d_s2d", S3D, name_map.s3d, 16, 0.304421),
        ("tsm_x1", TSMResNet, name_map.tsm_resnet, 8, 0.065266),
    ],
)
def test_deflated_released_networks(golden, make, entries, frames, distance):
    network = make()
    network.build(None)
    assign(entries(network))
    images = make_inputs(2, 4, 64, 64)[0][:, 0]
    deflated = deflate(network)(images)
    assert_close(deflated, load("deflation")[golden], 3e-6)
    if golden == "s3d_s2d":
        return  # slow, and as the other stem
    # The measured distance to the video network on static clips: what zeros beyond the ends of a clip do.
    assert abs(relative(deflated, Inflated(network, frames)(images)) - distance) < 1e-5


@pytest.mark.parametrize("name", MAKES)
def test_equals_the_middle_of_a_long_static_clip(name):
    network, deflated = without_gates(name), image_of(name)
    image = unit_input("image", (1, 20, 17, 3))
    frames = {"tsm": 24, "r2plus1d": 128}.get(name, 64)
    ends = network.endpoints(np.repeat(image[:, None], frames, 1))
    for key, expected in deflated.endpoints(image).items():
        if key != "embedding":
            maps = ends[key].numpy().reshape(-1, *expected.shape[1:])
            assert_close(maps[len(maps) // 2], expected[0], 2e-5, key)


@pytest.mark.parametrize("name", MAKES)
def test_has_no_time_axis_and_takes_any_size(name):
    network, deflated = random_network(name), image_of(name)
    names = [[v.path.partition("/")[2] for v in layer.variables] for layer in (deflated, network)]
    assert names[0] == names[1]
    assert max(len(v.shape) for v in deflated.variables) == 4
    assert len(deflated.trainable_variables) == len(network.trainable_variables)
    unknown = tf.function(deflated, input_signature=[tf.TensorSpec([None, None, None, 3])], autograph=False)
    operations = unknown.get_concrete_function().graph.get_operations()
    ranks = {
        len(output.shape or ())
        for op in operations
        if op.type in ("Conv2D", "Conv3D", "MaxPool", "MaxPool3D")
        for output in op.outputs
    }
    assert ranks == {4} and not any("3D" in op.type for op in operations)
    for shape in ((2, 33, 31, 3), (1, 40, 24, 3)):
        images = unit_input("image", shape)
        assert deflated(images).shape == (shape[0], network.output_dim)
        assert_close(unknown(images), deflated(images), 1e-5)
    with pytest.raises(ValueError, match=r"takes images \[B,H,W,3\], not \(1, 4, 32, 32, 3\)"):
        deflated(np.zeros((1, 4, 32, 32, 3), np.float32))


def test_cost():
    def ratio(name, frames):
        network = random_network(name)
        image = multiply_adds(image_of(name), tf.TensorSpec((1, 64, 64, 3)))
        return multiply_adds(network, tf.TensorSpec((1, frames, 64, 64, 3))) / image

    assert ratio("tsm", 8) == 8
    # Kernels with an extent in time cost more than their share, strides in time less.
    assert ratio("i3d", 16) > 16


def test_is_a_copy():
    network = random_network("tsm")
    images = unit_input("image", (1, 32, 32, 3))
    deflated = deflate(network)
    before = deflated(images).numpy()
    for variable in network.variables:
        variable.assign(variable + 1)
    np.testing.assert_array_equal(deflated(images), before)


def test_settings_of_batch_norm_are_copied():
    gin.parse_config("VIDEO/BatchNorm.epsilon = 0.5\nVIDEO/BatchNorm.unbiased = True")
    with gin.config_scope("VIDEO"):
        network = TSMResNet(18, width=0.125, shift_fraction=0)
    gin.clear_config()
    network.build(None)
    images = unit_input("image", (1, 32, 32, 3))
    assert_close(deflate(network)(images), Inflated(network, 2)(images), 1e-6)


def test_bfloat16_and_other_networks():
    network = TSMResNet(18, width=0.125, dtype="mixed_bfloat16")
    network.build(None)
    assert deflate(network).compute_dtype == "bfloat16"
    backbone = toy.ToyBackbone()
    clips = unit_input("clips", (2, 3, 5, 5, 3))
    backbone(clips)
    images = clips[:, 0]
    assert_close(deflate(backbone)(images), Inflated(backbone, 4)(images), 1e-6)


def test_errors():
    with pytest.raises(ValueError, match="S3D has no weights yet"):
        deflate(S3D())
    with pytest.raises(ValueError, match="Inflated.frames must be at least 1, not 0"):
        Inflated(S3D(), 0)


def test_a_transformer_sees_an_image_as_a_still_clip_at_the_mean_of_all_times():
    network = VideoTransformer("tiny", tokens=VideoTokens(positions=(3, 2, 2)))
    network(np.zeros((1, 12, 32, 32, 3), np.float32))
    images = unit_input("images", (2, 32, 32, 3))
    times = network.tokens.places.tables[0]
    image = deflate(network)
    assert image.tokens.kernel.shape == (16, 16, 3, 64)
    # What `mmv_tf deflate` trains: scale and offset of two norms a block, the last one, and that of the positions.
    assert len(trained_variables(image)) == 2 * (2 * 2 + 1 + 1)
    apart = relative(image(images), Inflated(network, 12)(images))
    times.assign(np.repeat(times.numpy().mean(0, keepdims=True), 3, axis=0))
    assert_close(deflate(network)(images), image(images), 1e-6)
    assert_close(image(images), Inflated(network, 4)(images), 1e-5)  # a clip of one patch is the same
    assert 0.001 < apart < 0.5
