"""S3D-G against the released networks' code: golden arrays from deterministic weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.golden_others import built
from helpers.golden_recipe import assert_close, assign, load, make_inputs, probes, unit_input
from mmv_tf.backbones import S3D
from mmv_tf.backbones.inception import Mixed, Unit
from mmv_tf.released import name_map


@pytest.mark.parametrize(
    ("name", "make", "module", "entries"),
    [
        ("sunit/sep_gated", lambda: Unit(6, (3, 3, 3)), "unit", name_map.unit),
        ("sunit/full_7x7x7_s2", lambda: Unit(6, (7, 7, 7), 2, separable=False, gated=False), "unit", name_map.unit),
        ("sunit/s2d_2x4x4", lambda: Unit(6, (2, 4, 4), separable=False, gated=False), "unit", name_map.unit),
        ("inception", lambda: Mixed(((4,), (3, 6), (2, 5), (3,))), "block", name_map.mixed),
    ],
)
def test_parts_equal_the_reference(name, make, module, entries):
    x, layer = unit_input("unit/sunit/x", (2, 5, 7, 6, 4)), make()
    layer(x)
    assign(entries(module, layer))
    assert_close(layer(x), load("units")[f"{name}/eval"], 2e-6)
    assert_close(layer(x, training=True), load("units")[f"{name}/train"], 1e-5)


@pytest.fixture(scope="module", params=["rgb", "space_to_depth"])
def released(request):
    """A whole network, of zeros, and its stem."""
    return built(S3D(request.param)), request.param


def test_inference_equals_the_reference():
    # The RGB stem: tests/model/test_mmv_golden.py.
    network = built(S3D())
    assign(name_map.s3d(network))
    assert_close(network(make_inputs(4, 16, 64, 64)[0]), load("backbones")["s3d_s2d/eval/vid_repr"], 1e-5)


def test_training_equals_the_reference():
    # In float64, where equal means equal: in float32 the reference itself is off by 2e-4, because the last batch norms
    # see 16 positions. The RGB stem: tests/model/test_mmv_golden.py.
    expected, network = load("backbones"), built(S3D(dtype="float64"))
    averages = {e.name: e.variable for e in assign(name_map.s3d(network))}
    assert {v.dtype for v in network.variables} == {"float64"}
    video = make_inputs(4, 16, 64, 64)[0].astype(np.float64)
    assert_close(network(video, training=True), expected["s3d_s2d/train/vid_repr"], 1e-7)
    for name, values in zip(expected["s3d_s2d/state_names"], expected["s3d_s2d/state_probes"], strict=True):
        assert_close(probes(averages[f"{name}/average"], 8), values, 1e-5, name)


def test_parameters_and_names_are_those_of_the_reference(released):
    network, stem = released
    count = sum(np.prod(v.shape) for v in network.trainable_variables)
    assert count == {"rgb": 9_162_704, "space_to_depth": 9_146_000}[stem]
    entries = list(name_map.s3d(network))
    leaves = [entry.name.rsplit("/", 1)[1] for entry in entries]
    assert [leaves.count(leaf) for leaf in ("w", "b", "scale", "offset", "hidden")] == [113, 37, 76, 76, 152]
    assert len(entries) == len({entry.name for entry in entries}) == 302 + 6 * 76
    assert {id(e.variable) for e in entries if e.variable is not None} == {id(v) for v in network.variables}


def test_endpoints_have_the_sizes_of_the_reference(released):
    network = released[0]
    ends = network.endpoints(np.zeros((1, 16, 64, 64, 3), np.float32))
    assert {name: tuple(end.shape[1:4]) for name, end in ends.items() if len(end.shape) == 5} == {
        **dict.fromkeys(["Conv2d_1a_7x7"], (8, 32, 32)),
        **dict.fromkeys(["MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3"], (8, 16, 16)),
        **dict.fromkeys(["MaxPool_3a_3x3", "Mixed_3b", "Mixed_3c"], (8, 8, 8)),
        **dict.fromkeys(["MaxPool_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"], (4, 4, 4)),
        **dict.fromkeys(["MaxPool_5a_2x2", "Mixed_5b", "Mixed_5c"], (2, 2, 2)),
    }
    assert ends["embedding"].shape == (1, network.output_dim) == (1, 1024)


@pytest.mark.parametrize("stem", ["rgb", "space_to_depth"])
def test_odd_sizes_and_unknown_shapes(stem):
    network = S3D(stem, width=0.125, final_endpoint="Mixed_3b")
    unknown = tf.function(network, input_signature=[tf.TensorSpec([None, None, None, None, 3])])
    for shape in ((1, 1, 33, 31), (2, 5, 45, 32)):
        video = unit_input("video", (*shape, 3))
        expected = network(video)
        assert expected.shape == (shape[0], network.output_dim) and np.isfinite(expected).all()
        assert_close(unknown(video), expected, 1e-5, f"{shape}")


def test_compiled_and_in_bfloat16():
    video = make_inputs(2, 4, 32, 32)[0]
    network = S3D(width=0.125, final_endpoint="Mixed_3b")
    expected = network(video, training=True)
    assert_close(tf.function(network, jit_compile=True)(video, training=True), expected, 1e-4)
    half = S3D(width=0.125, final_endpoint="Mixed_3b", dtype="mixed_bfloat16")
    half(video)
    for ours, theirs in zip(half.variables, network.variables, strict=True):
        assert ours.dtype == "float32"
        ours.assign(theirs)
    assert half(video).dtype == tf.bfloat16
    # By direction: the largest single difference hangs on how a processor adds up products of bfloat16.
    got, wanted = (np.asarray(keras.ops.cast(x, "float32"), np.float64) for x in (half(video), network(video)))
    cosines = np.sum(got * wanted, 1) / np.linalg.norm(got, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosines.min() > 0.995


def test_gradient_equals_finite_differences():
    network = S3D(width=0.125, final_endpoint="Mixed_3b", dtype="float64")
    video = make_inputs(2, 4, 32, 32)[0].astype(np.float64)
    weights = unit_input("weights", (2, network(video).shape[1]))

    @tf.function
    def loss():
        return tf.reduce_sum(network(video, training=True) * weights)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, [v.value for v in network.trainable_variables])

    for variable, slope in list(zip(network.trainable_variables, gradient(), strict=True))[::9]:
        direction, start = unit_input(variable.path, variable.shape).astype(np.float64), variable.numpy()
        values = []
        for step in (3e-8, -3e-8):
            variable.assign(start + step * direction)
            values.append(loss().numpy())
        variable.assign(start)
        np.testing.assert_allclose(np.sum(slope * direction), (values[0] - values[1]) / 6e-8, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stem": "grey"}, "S3D.stem = 'grey': must be 'space_to_depth', 'rgb' or 'rgb_3x7x7'"),
        ({"final_endpoint": "Mixed_6a"}, "S3D.final_endpoint = 'Mixed_6a': must be 'Conv2d_1a_7x7', "),
        ({"width": 0}, "S3D.width = 0: must be a number above 0"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        S3D(**arguments)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"S3D takes clips \[B,T,H,W,3\], not \(1, 4, 16, 16, 24\)"):
        S3D(width=0.125)(np.zeros((1, 4, 16, 16, 24), np.float32))
