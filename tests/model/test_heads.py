"""Projection heads against the released networks' code, plain NumPy and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.golden_recipe import assert_close, assign, load, unit_input
from mmv_tf.model.graph import Head
from mmv_tf.model.heads import ProjectionHead
from mmv_tf.released import name_map

# All head modes of the reference but 'mlp_nobn', which no published network uses and `Head` does not express.
VARIANTS = {
    "linear/bn_out=False": {},
    "linear/bn_out=True": {"batch_norm": True},
    "mlp@16/bn_out=False": {"hidden": (16,)},
    "mlp@16/bn_out=True": {"hidden": (16,), "batch_norm": True},
    "mlp@16@12/bn_out=False": {"hidden": (16, 12)},
    "mlp@16@12/bn_out=True": {"hidden": (16, 12), "batch_norm": True},
}


def make(dim=8, **settings) -> ProjectionHead:
    return ProjectionHead(Head("video", "va", **settings), dim)


@pytest.fixture
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("variant", VARIANTS)
def test_head_equals_the_reference(variant):
    head, x = make(**VARIANTS[variant]), unit_input("unit/head/x", (6, 24))
    head(x)
    named = assign(name_map.head(head, "head"))
    assert {id(e.variable) for e in named if e.variable is not None} == {id(v) for v in head.variables}
    golden = load("units")
    assert_close(head(x), golden[f"head/{variant}/eval"], 2e-6)
    assert_close(head(x, training=True), golden[f"head/{variant}/train"], 1e-5)


def test_activation_with_batch_norm_by_hand(float64):
    head, x = make(activation="bnrelu", batch_norm=True), unit_input("unit/head/x", (6, 24)).astype(np.float64)
    head(x)
    for variable in head.variables:
        if variable.name != "counter":
            variable.assign(0.5 + np.abs(unit_input(variable.path, variable.shape)))
    first, last, dense = head.activation_norm, head.norm, head.projection

    def by_hand(mean, variance, mean_out=None, variance_out=None):
        y = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * first.scale + first.offset, 0)
        y = y @ dense.kernel.numpy() + dense.bias.numpy()
        mean_out, variance_out = (y.mean(0), y.var(0)) if mean_out is None else (mean_out, variance_out)
        return (y - mean_out) / np.sqrt(variance_out + 1e-5) * last.scale + last.offset

    norms = (first.moving_mean, first.moving_variance, last.moving_mean, last.moving_variance)
    assert_close(head(x), by_hand(*(v.numpy() for v in norms)), 1e-12)
    assert_close(head(x, training=True), by_hand(x.mean(0), x.var(0)), 1e-12)
    assert_close(first.moving_mean, x.mean(0), 1e-12)  # as after any first step


def test_activation_with_batch_norm_has_the_names_of_the_reference():
    head = make(activation="bnrelu")
    head(np.zeros((2, 3), np.float32))
    model = type("Model", (), {"backbones": {}, "heads": {"va -> vat": head}})
    names = {e.name: e.variable for e in name_map.model(model)}
    module = "text_audio_video/~_activate_interaction/__cross_replica_batch_norm"  # not inside the head
    assert names[f"{module}/scale"] is head.activation_norm.scale
    assert names[f"{module}/~/var_ema/average"] is head.activation_norm.moving_variance


def test_activation_with_relu():
    x, head, plain = unit_input("x", (4, 24)), make(activation="relu"), make()
    head(x), plain(x)
    plain.set_weights(head.get_weights())
    assert_close(head(x), plain(np.maximum(x, 0)), 1e-6)


def test_candidates_share_one_batch():
    x = unit_input("x", (4, 3, 24))
    head, flat = make(hidden=(16,), batch_norm=True), make(hidden=(16,), batch_norm=True)
    head(x), flat(x)
    flat.set_weights(head.get_weights())
    outputs = head(x, training=True)
    assert outputs.shape == (4, 3, 8)
    assert_close(np.reshape(outputs, (12, 8)), flat(x.reshape(12, 24), training=True), 1e-6)


@pytest.mark.parametrize("settings", [{"hidden": (7, 5), "batch_norm": True}, {"activation": "bnrelu"}])
def test_gradients_equal_finite_differences(float64, settings):
    head, x = make(**settings), tf.constant(unit_input("x", (6, 9)).astype(np.float64))
    weights = unit_input("weights", (6, 8)).astype(np.float64)

    def loss():
        return tf.reduce_sum(head(x, training=True) * weights)

    loss()  # makes the variables
    for variable in head.trainable_variables:
        variable.assign(variable + 0.1 * unit_input(variable.path, variable.shape))
    with tf.GradientTape() as tape:
        value = loss()
    slopes = tape.gradient(value, [v.value for v in head.trainable_variables])
    for variable, slope in zip(head.trainable_variables, slopes, strict=True):
        if slope is None:  # a bias in front of a batch norm, which takes it away again
            assert variable.name == "bias"
            continue
        start, direction = variable.numpy(), unit_input(f"{variable.path}/way", variable.shape)
        values = []
        for step in (1e-6, -1e-6):
            variable.assign(start + step * direction)
            values.append(loss().numpy())
        variable.assign(start)
        np.testing.assert_allclose(np.sum(slope * direction), (values[0] - values[1]) / 2e-6, rtol=1e-6, atol=1e-7)
