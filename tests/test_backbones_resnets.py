"""The audio ResNet and the TSM ResNet against the released networks' code."""

import numpy as np
import pytest
import tensorflow as tf
from golden_recipe import assert_close, assign, load, make_inputs, probes, unit_input

from mmv_tf.backbones import AudioResNet, TSMResNet
from mmv_tf.backbones.residual import Block
from mmv_tf.backbones.tsm_resnet import temporal_shift
from mmv_tf.checkpoints import name_map


@pytest.mark.parametrize("kind", ["tsm_block", "resnet_block"])
@pytest.mark.parametrize(("variant", "options"), [("proj_s2", (32, 2, True)), ("identity", (16, 1, False))])
def test_blocks_equal_the_reference(kind, variant, options):
    channels, stride, projection = options
    shift = (lambda x, frames: temporal_shift(x, frames, 2)) if kind == "tsm_block" else None
    block = Block(channels, stride, projection=projection, shift=shift)
    x = unit_input("unit/tsm/x", (8, 7, 6, 16))
    block(x, frames=4)
    assign(name_map.block("block", "block" if kind == "tsm_block" else "block/~", block))
    assert_close(block(x, frames=4), load("units")[f"{kind}/{variant}/eval"], 2e-6)
    assert_close(block(x, frames=4, training=True), load("units")[f"{kind}/{variant}/train"], 5e-6)


def test_shift_equals_the_reference():
    golden = load("units")
    np.testing.assert_array_equal(temporal_shift(golden["shift/arange_in"], 4, 2), golden["shift/arange_out"])
    x = unit_input("unit/shift/x", (8, 2, 2, 16))
    np.testing.assert_array_equal(temporal_shift(x, 4, 2), golden["shift/gpu_B2T4_C16"])
    np.testing.assert_array_equal(temporal_shift(x, 1, 2), golden["shift/gpu_T1_C16"])


@pytest.mark.parametrize(
    ("make", "golden", "key", "entries", "parameters", "shape"),
    [
        (AudioResNet, "audio", "aud_repr", name_map.audio_resnet, 23_494_080, (16, 64, 64)),
        (TSMResNet, "tsm_x1", "vid_repr", name_map.tsm_resnet, 23_500_352, (8, 64, 64)),
    ],
)
def test_whole_network_equals_the_reference(make, golden, key, entries, parameters, shape):
    expected = load("backbones")
    x = make_inputs(4, *shape)[1 if make is AudioResNet else 0]
    single, double = make(), make(dtype="float64")
    single(x[:1])
    named = assign(entries(single))
    assert sum(np.prod(v.shape) for v in single.trainable_variables) == parameters
    assert {id(e.variable) for e in named if e.variable is not None} == {id(v) for v in single.variables}
    assert len(named) == 151 + 6 * 49
    assert_close(single(x), expected[f"{golden}/eval/{key}"], 1e-5)
    double(np.zeros((1, 2, 32, 32, 3)[: x.ndim - 1] + x.shape[-1:]))
    for ours, entry in zip(entries(double), named, strict=True):
        if ours.variable is not None:
            ours.variable.assign(entry.variable.numpy())
    assert_close(double(x.astype(np.float64), training=True), expected[f"{golden}/train/{key}"], 1e-7)
    averages = {e.name: e.variable for e in entries(double)}
    for name, values in zip(expected[f"{golden}/state_names"], expected[f"{golden}/state_probes"], strict=True):
        assert_close(probes(averages[f"{name}/average"], 8), values, 1e-5, name)


@pytest.mark.parametrize(
    ("depth", "blocks", "output_dim"),
    [(18, (2, 2, 2, 2), 512), (34, (3, 4, 6, 3), 512), (50, (3, 4, 6, 3), 2048), (101, (3, 4, 23, 3), 2048)]
    + [(152, (3, 8, 36, 3), 2048)],
)
def test_depths(depth, blocks, output_dim):
    network = AudioResNet(depth)
    assert tuple(map(len, network.groups)) == blocks and network.output_dim == output_dim


def test_resnet18_is_that_of_the_literature():
    # He et al.: 11.69M with 1000 classes, less the classifier, the batch norms and two channels of the stem.
    network = AudioResNet(18)
    network(np.zeros((1, 32, 32, 1), np.float32))
    kernels = sum(np.prod(v.shape) for v in network.trainable_variables if v.name == "kernel")
    assert kernels == 11_689_512 - 513_000 - 9_600 - 2 * 49 * 64


def test_endpoints_of_the_audio_network():
    network = AudioResNet(18, width=0.25)
    ends = network.endpoints(unit_input("audio", (2, 96, 40, 1)))
    assert [ends[f"group_{i}"].shape[1:] for i in range(4)] == [(24, 10, 16), (12, 5, 32), (6, 3, 64), (3, 2, 128)]
    activated = np.maximum(network.norm(ends["last_conv"]), 0)
    assert_close(activated.mean((1, 2)), ends["embedding"], 1e-6)  # last_conv is in front of the batch norm


def test_unknown_shapes_and_odd_sizes():
    network = TSMResNet(18, width=0.125)
    video = unit_input("video", (2, 3, 33, 31, 3))
    unknown = tf.function(network, input_signature=[tf.TensorSpec([None, None, None, None, 3])])
    assert_close(unknown(video), network(video), 1e-5)
    one_frame = network(video[:, :1])
    assert one_frame.shape == (2, network.output_dim) == (2, 64)


def test_compiled_training_step():
    network = TSMResNet(18, width=0.125)
    video = make_inputs(2, 4, 32, 32)[0]
    expected = network(video, training=True)
    assert_close(tf.function(network, jit_compile=True)(video, training=True), expected, 1e-4)


@pytest.mark.parametrize("make", [AudioResNet, TSMResNet])
def test_bad_settings_and_inputs_are_named(make):
    with pytest.raises(ValueError, match="depth must be one of 18, 34, 50, 101, 152, 200, not 20"):
        make(depth=20)
    with pytest.raises(ValueError, match="width must be above 0"):
        make(width=0)
    with pytest.raises(ValueError, match=make.__name__ + " takes"):
        make(18, width=0.125)(np.zeros((1, 8, 8, 2), np.float32))
