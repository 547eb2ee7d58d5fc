"""Convolutions and pooling in their 2-D forms against TensorFlow's 3-D operations and the golden arrays."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.golden_recipe import assert_close, load, unit_input
from mmv_tf.backbones import layers


@pytest.mark.parametrize(
    ("kernel", "strides"),
    [((1, 3, 3), (1, 1, 1)), ((1, 7, 7), (1, 2, 2)), ((3, 1, 1), (1, 1, 1)), ((3, 1, 1), (2, 1, 1))]
    + [((1, 1, 1), (1, 1, 1)), ((1, 1, 1), (2, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((7, 7, 7), (2, 2, 2))],
)
def test_convolution_and_its_gradients_equal_conv3d(kernel, strides):
    x = tf.constant(unit_input("x", (2, 5, 7, 6, 4)).astype(np.float64))
    w = tf.constant(unit_input("w", (*kernel, 4, 3)).astype(np.float64))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, w])
        ours = layers.convolve(x, w, strides)
        theirs = tf.nn.conv3d(x, w, [1, *strides, 1], "SAME")
        a, b = tf.reduce_sum(ours**2), tf.reduce_sum(theirs**2)
    assert_close(ours, theirs, 1e-13)
    for mine, expected in zip(tape.gradient(a, [x, w]), tape.gradient(b, [x, w]), strict=True):
        assert_close(mine, expected, 1e-13)


@pytest.mark.parametrize("padding", ["same", "even", "least"])
def test_a_kernel_of_one_place_has_no_strides_left(padding):
    """oneDNN's gradient of one with strides ends the process on some processors (`layers._looked_at`)."""
    x, w = tf.constant(unit_input("x", (2, 7, 6, 4))), tf.constant(unit_input("w", (1, 1, 4, 3)))
    made = tf.function(lambda x: layers.convolve_images(x, w, (2, 2), padding)).get_concrete_function(x)
    convolutions = [operation for operation in made.graph.get_operations() if operation.type == "Conv2D"]
    assert [list(one.get_attr("strides")) for one in convolutions] == [[1, 1, 1, 1]]
    assert_close(made(x), tf.nn.conv2d(x, w, 2, "SAME"), 1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "window", "strides"),
    [
        ("pool3d_1x3x3_s122", (1, 3, 7, 6, 2), (1, 3, 3), (1, 2, 2)),
        ("pool3d_3x3x3_s111", (1, 3, 5, 4, 2), (3, 3, 3), (1, 1, 1)),
        ("pool3d_3x3x3_s222", (1, 5, 7, 6, 2), (3, 3, 3), (2, 2, 2)),
        ("pool3d_2x2x2_s222", (1, 3, 5, 4, 2), (2, 2, 2), (2, 2, 2)),
    ],
)
def test_max_pool_of_negative_numbers_equals_the_reference(name, shape, window, strides):
    x = -1 - np.abs(unit_input(f"unit/{name}", shape))
    np.testing.assert_array_equal(layers.max_pool(x, window, strides), load("units")[f"pool/{name}"])


def test_space_to_depth_orders_channels_as_the_reference():
    x = np.arange(192, dtype=np.float32).reshape(1, 4, 4, 4, 3)
    np.testing.assert_array_equal(layers.space_to_depth(x), load("units")["s2d/arange_out"])


def test_space_to_depth_pads_odd_sizes_at_the_end():
    x = unit_input("x", (1, 3, 5, 4, 3))
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0), (0, 0)))
    np.testing.assert_array_equal(layers.space_to_depth(x), layers.space_to_depth(padded))
    unknown = tf.function(layers.space_to_depth, input_signature=[tf.TensorSpec([None] * 4 + [3])])
    np.testing.assert_array_equal(unknown(x), layers.space_to_depth(padded))


def test_folded_batch_norm_equals_the_separate_one():
    x, layer = unit_input("x", (2, 3, 5, 4, 6)), layers.ConvNorm(8, (1, 3, 3))
    layer(x, training=True)  # makes averages that are neither 0 nor 1
    separate = keras.ops.relu(layer.norm(layer.conv(x)))
    assert_close(layer(x), separate, 1e-6)
    layer.trainable = False
    assert_close(layer(x, training=True), separate, 1e-6)


def test_initial_spread_is_that_of_haiku():
    # Normal cut at two sigma, not made wider for it: .8796 of 1/sqrt(fan_in).
    values = np.asarray(layers.fan_in_normal()((3, 3, 16, 4096)))
    assert abs(values.std() * np.sqrt(9 * 16) - 0.8796) < 0.005
    assert abs(values).max() <= 2 / np.sqrt(9 * 16)


def test_mean_of_bfloat16_is_summed_in_float32():
    x = keras.ops.cast(np.full((1, 4096, 1), 1.0), "bfloat16")  # sums in bfloat16 stop at 256
    assert layers.mean(x, 1)[0, 0] == 1


SAME, EVEN, LEAST = "same", "even", "least"


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize(
    ("kernel", "strides"), [((3, 7, 7), (1, 2, 2)), ((1, 3, 3), (1, 2, 2)), ((3, 1, 1), (2, 1, 1))]
)
def test_even_padding_is_the_same_on_both_sides(kernel, strides, size):
    x = unit_input("x", (2, size, size, size, 4)).astype(np.float64)
    w = unit_input("w", (*kernel, 4, 3)).astype(np.float64)
    pads = [(0, 0), *((k // 2, k // 2) for k in kernel), (0, 0)]
    x, w = tf.constant(x), tf.constant(w)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, w])
        expected = tf.nn.conv3d(tf.pad(x, pads), w, [1, *strides, 1], "VALID")
        ours = layers.convolve(x, w, strides, EVEN)
        a, b = tf.reduce_sum(ours**2), tf.reduce_sum(expected**2)
    assert_close(ours, expected, 1e-13)
    for mine, theirs in zip(tape.gradient(a, [x, w]), tape.gradient(b, [x, w]), strict=True):
        assert_close(mine, theirs, 1e-13)
    layer = layers.Conv(3, kernel, strides, EVEN, dtype="float64")
    layer.build(x.shape)
    assert layer.compute_output_shape(x.shape) == expected.shape
    layer.kernel.assign(w)
    assert_close(layer(x), expected, 1e-13)
    if size == 6:  # where the stride divides the size, TensorFlow's padding begins later
        assert np.abs(layers.convolve(x, w, strides) - expected).max() > 0.1


def test_image_layers_pad_evenly():
    x, layer = unit_input("x", (1, 8, 6, 2)), layers.ConvNorm(3, (7, 7), 2, padding=EVEN)
    layer.build(x.shape)
    expected = tf.nn.conv2d(np.pad(x, [(0, 0), (3, 3), (3, 3), (0, 0)]), layer.conv.kernel.value, 2, "VALID")
    assert_close(layer.conv(x), expected, 1e-6)


@pytest.mark.parametrize(
    ("padding", "size", "window", "stride", "expected"),
    [
        # -n at place n: the maximum is the first place that the window sees, -99 none.
        (SAME, 6, 3, 2, [0, -2, -4]),
        (SAME, 7, 3, 2, [0, -1, -3, -5]),
        (EVEN, 6, 3, 2, [0, -1, -3]),
        (EVEN, 7, 3, 2, [0, -1, -3, -5]),
        (LEAST, 6, 3, 2, [0, -2, -4]),
        (LEAST, 7, 3, 2, [0, -2, -4, -6]),
        (LEAST, 5, 2, 2, [0, -2, -4]),
        (LEAST, 4, 3, 1, [0, 0, -1, -2]),
    ],
)
def test_max_pool_begins_where_the_padding_says(padding, size, window, stride, expected):
    line = -np.arange(size, dtype=np.float32)
    for axis in range(3):
        extents = [window if i == axis else 1 for i in range(3)]
        strides = [stride if i == axis else 1 for i in range(3)]
        x = line.reshape([-1 if i == axis + 1 else 1 for i in range(5)])
        pooled = np.ravel(layers.max_pool(x, tuple(extents), tuple(strides), padding))
        np.testing.assert_array_equal(pooled, expected)
    unknown = tf.function(
        lambda x: layers.max_pool(x, (1, window, 1), (1, stride, 1), padding),
        input_signature=[tf.TensorSpec([None] * 4 + [1])],
    )
    np.testing.assert_array_equal(np.ravel(unknown(line.reshape(1, 1, -1, 1, 1))), expected)
