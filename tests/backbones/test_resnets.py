"""The audio ResNet and the TSM ResNet against the released networks' code."""

import numpy as np
import pytest
import tensorflow as tf

from helpers import processes
from helpers.golden_others import built
from helpers.golden_recipe import assert_close, assign, load, make_array, make_inputs, unit_input
from mmv_tf.backbones import AudioResNet, TSMResNet
from mmv_tf.backbones.residual import Block
from mmv_tf.backbones.tsm_resnet import temporal_shift
from mmv_tf.released import name_map


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
    ("make", "channels", "entries", "parameters"),
    [(AudioResNet, 1, name_map.audio_resnet, 23_494_080), (TSMResNet, 3, name_map.tsm_resnet, 23_500_352)],
)
def test_parameters_and_names_are_those_of_the_reference(make, channels, entries, parameters):
    network = built(make(), (None, None, None, channels))
    named = list(entries(network))
    assert sum(np.prod(v.shape) for v in network.trainable_variables) == parameters
    assert {id(e.variable) for e in named if e.variable is not None} == {id(v) for v in network.variables}
    assert len(named) == 151 + 6 * 49


def test_inference_equals_the_reference():
    # The network of sounds, training and gradients: tests/model/test_mmv_golden.py.
    network = built(TSMResNet())
    assign(name_map.tsm_resnet(network))
    assert_close(network(make_inputs(4, 8, 64, 64)[0]), load("backbones")["tsm_x1/eval/vid_repr"], 1e-5)


def plain_tsm(weights, video, blocks=(3, 4, 6, 3)):
    """The released TSM ResNet by its definition, in a dozen lines of TensorFlow; `weights` by their released names."""

    def norm(module, x):
        mean, variance = (weights[f"{module}/~/{kind}_ema/average"] for kind in ("mean", "var"))
        return (x - mean) / tf.sqrt(variance + 1e-5) * weights[f"{module}/scale"] + weights[f"{module}/offset"]

    def conv(module, x, stride=1):
        return tf.nn.conv2d(x, weights[f"{module}/w"], stride, "SAME")

    (clips, frames), root = video.shape[:2], f"{name_map.VISUAL}/TSMResNetV2"
    x = conv(f"{root}/tsm_resnet_stem", tf.reshape(video, [clips * frames, *video.shape[2:]]), 2)
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for unit, block in [(i, j) for i, count in enumerate(blocks) for j in range(count)]:
        module, stride = f"{root}/tsm_resnet_unit_{unit}/block_{block}", 2 if unit and not block else 1
        y = tf.nn.relu(norm(f"{module}/__cross_replica_batch_norm", x))
        shortcut = x if block else conv(f"{module}/shortcut_conv", y, stride)
        n = y.shape[-1] // 8
        y = np.pad(np.reshape(y, [clips, frames, *y.shape[1:]]), [(0, 0), (1, 1), (0, 0), (0, 0), (0, 0)])
        y = np.concatenate([y[:, 2:, ..., -n:], y[:, 1:-1, ..., n:-n], y[:, :-2, ..., :n]], -1)
        y = conv(f"{module}/conv_0", np.reshape(y, [-1, *y.shape[2:]]))
        y = conv(f"{module}/conv_1", tf.nn.relu(norm(f"{module}/__cross_replica_batch_norm_1", y)), stride)
        x = shortcut + conv(f"{module}/conv_2", tf.nn.relu(norm(f"{module}/__cross_replica_batch_norm_2", y)))
    x = tf.nn.relu(norm(f"{root}/__cross_replica_batch_norm", x))
    return np.reshape(x, [clips, frames, -1, x.shape[-1]]).mean((1, 2))


def _double_width_equals_its_definition():
    # Of the released x2 network there are no golden arrays.
    network, video = built(TSMResNet(width=2)), make_inputs(2, 3, 40, 32)[0]
    assert sum(np.prod(v.shape) for v in network.trainable_variables) == 93_891_712
    weights = {e.name: e.variable for e in name_map.tsm_resnet(network) if e.variable is not None}
    some = unit_input("kernels", [1_000_003])  # over and over: to draw a hundred million takes seconds
    for name, variable in weights.items():
        if name.endswith("/w"):
            variable.assign(np.resize(some, variable.shape) / np.sqrt(np.prod(variable.shape[:-1])))
        elif not name.endswith("/counter"):
            variable.assign(np.reshape(make_array(name, variable.shape), variable.shape))
    outputs = network(video)
    assert outputs.shape == (2, network.output_dim) == (2, 4096)
    assert_close(outputs, plain_tsm({name: v.value for name, v in weights.items()}, video), 1e-5)


def test_double_width_equals_its_definition(tmp_path):
    """In a process of its own: a tester does not give its gigabyte back."""
    process = processes.Process(tmp_path / "log.txt", _double_width_equals_its_definition)
    assert process.wait() == 0, process.output()


@pytest.mark.parametrize(
    ("depth", "blocks", "output_dim"),
    [
        (10, (1, 1, 1, 1), 512),
        (18, (2, 2, 2, 2), 512),
        (34, (3, 4, 6, 3), 512),
        (50, (3, 4, 6, 3), 2048),
        (101, (3, 4, 23, 3), 2048),
    ]
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
    network = TSMResNet(10, width=0.125)
    video = unit_input("video", (2, 3, 33, 31, 3))
    unknown = tf.function(network, input_signature=[tf.TensorSpec([None, None, None, None, 3])])
    assert_close(unknown(video), network(video), 1e-5)
    one_frame = network(video[:, :1])
    assert one_frame.shape == (2, network.output_dim) == (2, 64)


def test_compiled_and_in_bfloat16():
    network, half = TSMResNet(10, width=0.125), TSMResNet(10, width=0.125, dtype="mixed_bfloat16")
    video = make_inputs(2, 4, 32, 32)[0]
    expected = network(video)
    half(video)
    half.set_weights(network.get_weights())
    assert half(video).dtype == tf.bfloat16 and {v.dtype for v in half.variables} == {"float32"}
    assert_close(tf.cast(half(video), tf.float32), expected, 0.03)
    expected = network(video, training=True)
    assert_close(tf.function(network, jit_compile=True)(video, training=True), expected, 1e-4)


def test_gradient_equals_finite_differences():
    network = TSMResNet(10, width=0.125, dtype="float64")
    video = make_inputs(2, 3, 16, 16)[0].astype(np.float64)
    weights = unit_input("weights", (2, network(video).shape[1])).astype(np.float64)
    for variable in network.variables:  # no ReLU shall be at its corner
        if variable.name != "counter":
            variable.assign(variable + 0.05 * np.abs(unit_input(variable.path.partition("/")[2], variable.shape)))

    @tf.function
    def loss(x):
        return tf.reduce_sum(network(x, training=True) * weights)

    x = tf.constant(video)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    some = network.trainable_variables[::7]
    slopes = tape.gradient(value, [x, *(v.value for v in some)])

    def check(slope, moved):
        values = [moved(step).numpy() for step in (3e-8, -3e-8)]
        np.testing.assert_allclose(slope, (values[0] - values[1]) / 6e-8, rtol=1e-3, atol=1e-4)

    way = unit_input("way", video.shape).astype(np.float64)
    check(np.sum(slopes[0] * way), lambda step: loss(x + step * way))
    for variable, slope in zip(some, slopes[1:], strict=True):
        start, way = variable.numpy(), unit_input(variable.name, variable.shape).astype(np.float64)

        def moved(step, variable=variable, start=start, way=way):
            variable.assign(start + step * way)
            return loss(x)

        check(np.sum(slope * way), moved)
        variable.assign(start)


@pytest.mark.parametrize("make", [AudioResNet, TSMResNet])
def test_bad_settings_and_inputs_are_named(make):
    with pytest.raises(ValueError, match="depth = 20: must be 10, 18, 34, 50, 101, 152 or 200"):
        make(depth=20)
    with pytest.raises(ValueError, match="width = 0: must be a number above 0"):
        make(width=0)
    with pytest.raises(ValueError, match=make.__name__ + " takes"):
        make(18, width=0.125)(np.zeros((1, 8, 8, 2), np.float32))
