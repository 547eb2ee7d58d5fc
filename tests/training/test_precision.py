"""mixed_bfloat16 and mixed_float16: activations in 16 bits, all else in float32; gradients that agree; loss scaling."""

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from helpers.golden_recipe import unit_input
from mmv_tf.backbones import (
    I3D,
    S3D,
    AudioResNet,
    R2Plus1D,
    ResNetV1,
    TextNetwork,
    TextTransformer,
    TSMResNet,
    VideoTokens,
    VideoTransformer,
    WaveformTokens,
    WaveformTransformer,
    WordVectors,
    residual,
)
from mmv_tf.backbones.inception import Mixed, Unit
from mmv_tf.backbones.tsm_resnet import temporal_shift
from mmv_tf.backbones.video_resnet import Block, Kind
from mmv_tf.model import accumulation
from mmv_tf.model.graph import Graph
from mmv_tf.model.mmv import MMV

CLIPS = (4, 4, 32, 32, 3)
# Not deeper: in an untrained deep network rounding the input alone turns the gradient (a cosine of .92 for an S3D of
# width 1/8 up to Mixed_4c, of .70 for an R(2+1)D-18), whatever computes it.
PARTS = {
    "unit": (lambda **o: Unit(8, (3, 3, 3), **o), (4, 4, 8, 8, 8)),
    "mixed": (lambda **o: Mixed(((8,), (8, 16), (8, 8), (8,)), **o), (4, 4, 8, 8, 8)),
    "residual": (lambda **o: residual.Block(16, 2, projection=True, **o), (8, 16, 16, 8)),
    "shifted": (lambda **o: residual.Block(8, shift=lambda x, _: temporal_shift(x, 4, 2), **o), (8, 16, 16, 8)),
    "r2plus1d": (lambda **o: Block(8, Kind(factored=True).basic(8, 16, 2, "own"), **o), (4, 4, 8, 8, 8)),
    "stem": (lambda **o: S3D(width=0.125, final_endpoint="Conv2d_2b_1x1", **o), CLIPS),
    "text": (lambda **o: TextNetwork(20, 8, 16, learned=True, **o), (6, 2, 5)),
    "text_transformer": (
        lambda **o: TextTransformer("tiny", words=WordVectors(20, 8, learned=True, **o), **o),
        (6, 2, 5),
    ),
    "waveform_transformer": (
        lambda **o: WaveformTransformer("tiny", tokens=WaveformTokens(8, 10, **o), **o),
        (4, 80),
    ),
}
NETWORKS = {
    "s3d": (lambda: S3D(width=0.125, final_endpoint="Mixed_3b", rematerialise=True), CLIPS),
    "i3d": (lambda: I3D(width=0.125, final_endpoint="Mixed_3b"), CLIPS),
    "tsm": (lambda: TSMResNet(depth=18, width=0.125), CLIPS),
    "r2plus1d": (lambda: R2Plus1D(width=0.125), CLIPS),
    "resnet_v1": (lambda: ResNetV1(depth=9, width=0.125), (4, 64, 32, 1)),
    "audio": (lambda: AudioResNet(depth=18, width=0.125), (4, 64, 32, 1)),
    "transformer": (lambda: VideoTransformer("tiny", tokens=VideoTokens(drop_token=0.0), dropout=0.0), CLIPS),
}


@pytest.fixture
def mixed_bfloat16():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def cosine(a, b) -> float:
    a, b = (np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in each]) for each in (a, b))
    return a @ b / np.sqrt((a @ a) * (b @ b))


def gradients_of(layer, x):
    keras.utils.set_random_seed(1)  # of dropout
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * unit_input("weights", y.shape))
    return y, [tf.convert_to_tensor(g) for g in tape.gradient(loss, [v.value for v in layer.trainable_variables])]


@pytest.mark.parametrize("name", PARTS)
def test_gradients_of_parts_agree_with_float32(name):
    make, shape = PARTS[name]
    is_text = name.startswith("text")
    x = tf.random.stateless_uniform(shape, (0, 1), 0, 20, tf.int32) if is_text else unit_input("x", shape)
    keras.utils.set_random_seed(0)
    single, half = make(dtype="float32"), make(dtype="mixed_bfloat16")
    for layer in (single, half):
        layer.build(shape)
    for a, b in zip(half.variables, single.variables, strict=True):
        a.assign(b)
    (y, expected), (y16, got) = gradients_of(single, x), gradients_of(half, x)
    assert y16.dtype == tf.bfloat16 and all(v.dtype == "float32" for v in half.variables)
    assert all(g.dtype == tf.float32 for g in got)
    assert cosine([y16], [y]) > 0.999
    assert cosine(got, expected) > 0.99


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_under_the_global_policy(name, mixed_bfloat16):
    make, shape = NETWORKS[name]
    keras.utils.set_random_seed(0)
    half = make()
    keras.mixed_precision.set_global_policy("float32")
    single, x = make(), unit_input("x", shape)
    for network in (half, single):
        network.build(shape)
    for a, b in zip(half.variables, single.variables, strict=True):
        a.assign(b)
    # Gradients are tested part by part, above: at this size the last maps are smaller than their kernels, and what
    # TensorFlow's bfloat16 gradient of such a convolution holds on a CPU is whatever was in memory before.
    y = half(x, training=True)
    assert y.dtype == tf.bfloat16 and all(v.dtype == "float32" for v in half.variables)
    assert cosine([y], [single(x, training=True)]) > 0.98
    layers = [layer for layer in half._flatten_layers() if not list(layer._layers) and layer.trainable_variables]
    assert all(layer.compute_dtype == "bfloat16" for layer in layers)


def train(model, step=None, steps=16):
    """The logs of each step."""
    step = step or tf.function(model.train_step)
    return [{n: float(v) for n, v in step(toy.batch(12, seed=number % 2)).items()} for number in range(steps)]


@pytest.fixture(scope="module")
def in_float32():
    return train(toy.mmv(graphs.fac()))


def test_whole_model_trains_as_in_float32(in_float32, mixed_bfloat16):
    half = toy.mmv(graphs.fac())
    keras.mixed_precision.set_global_policy("float32")
    batch = toy.batch(12)
    video = half.embed(batch)["video"]
    assert (video["repr"].dtype, video["va"].dtype) == (tf.bfloat16, tf.float32)
    assert half.compute_losses(batch, training=True)[0].dtype == tf.float32
    assert not [v for v in half.variables + half.optimizer.variables if "float16" in v.dtype]
    losses = [[logs["total_loss"] for logs in each] for each in (train(half), in_float32)]
    np.testing.assert_allclose(losses[0][:3], losses[1][:3], rtol=0.03)  # later the paths part
    assert losses[0][-1] < 0.5 * losses[0][0] and losses[1][-1] < 0.5 * losses[1][0]


def test_whole_model_trains_in_float16_with_a_scaled_loss(in_float32):
    """Steps are left out until the scale fits, and no number of them is in a weight."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    half = toy.mmv(graphs.fac())
    keras.mixed_precision.set_global_policy("float32")
    batch = toy.batch(12)
    half.optimizer.loss_scale.assign(2.0**40)
    start, step, logs = half.get_weights(), tf.function(half.train_step), []
    for _ in range(60):
        logs.append({name: float(value) for name, value in step(batch).items()})
        if not logs[-1]["left_out"]:
            break
        assert np.isnan(logs[-1]["gradient_norm"]) and np.isfinite(logs[-1]["total_loss"])  # no step, no gradient
    assert len(logs) > 5 and logs[-1]["loss_scale"] == 2.0 ** (40 - len(logs) + 1)
    np.testing.assert_allclose(logs[-1]["gradient_norm"], in_float32[0]["gradient_norm"], rtol=0.02)
    assert sum(not np.array_equal(a, b) for a, b in zip(start, half.get_weights(), strict=True)) > 5
    trained = train(half, step)
    assert trained[-1]["total_loss"] < 0.5 * trained[0]["total_loss"]


@pytest.mark.parametrize("space", ["va", "vat"])
def test_heads_compute_in_the_precision_of_their_weights(space, mixed_bfloat16):
    """What bfloat16 adds to an embedding is the rounding of the representation, and nothing on the way."""
    half = toy.mmv(graphs.fac(), compiled=False)
    keras.mixed_precision.set_global_policy("float32")
    single = toy.mmv(graphs.fac(), compiled=False)
    rounded = tf.cast(unit_input("repr", (8, 6)), tf.bfloat16)
    for training in (False, True):
        got = half.embed_repr("video", rounded, training)[space]
        assert got.dtype == tf.float32
        expected = single.embed_repr("video", tf.cast(rounded, tf.float32), training)[space]
        np.testing.assert_array_equal(got, expected)


HARD = {"against": ("audio_2",)}
PREDICTED = {"spaces": {"z": 4, "h": 4}, "heads": [("video", "z"), ("audio", "z"), ("z", "h", {"hidden": (5,)})]}
# loss: settings, the pair, and the graph where it is not one space of video, sound and text
LOSSES = {
    "info_nce": ({"stop_keys": True}, ("video", "audio", "v", HARD), {}),
    "nt_xent": ({}, ("video", "video_2", "v", {}), {}),
    "margin": ({"normalize": True}, ("video", "audio", "v", {**HARD, "against_own": True}), {}),
    "regression": ({}, ("video", "audio", "h", {"second_space": "z"}), PREDICTED),
    "symmetric_nce": ({}, ("video", "text", "v", {}), {}),  # of two candidates
}


def made_for(name) -> MMV:
    settings, (first, second, space, options), graph = LOSSES[name]
    if settings:
        gin.parse_config([f"{name}.{key} = {value}" for key, value in settings.items()])
    options = {"loss": gin.get_configurable(name), **options}
    modalities = {m.removesuffix("_2") for m in (first, second, *options.get("against", ()))}
    views = {m: m[:-2] for m in ("video_2", "audio_2") if m in (second, *options.get("against", ()))}
    parts = {"spaces": {"v": 4}, "heads": [(m, "v", {"hidden": (5,)}) for m in sorted(modalities)], **graph}
    keras.utils.set_random_seed(0)
    model = MMV(
        {m: toy.ToyText() if m == "text" else toy.ToyBackbone() for m in sorted(modalities)},
        Graph(**parts, views=views, pairs=[(first, second, space, options)]),
    )
    model.build_by_call({m: toy.batch(2)[m] for m in modalities})
    model.compile(optimizer=keras.optimizers.SGD(0.05))
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_views_train_as_in_float32(name, mixed_bfloat16):
    half = made_for(name)
    keras.mixed_precision.set_global_policy("float32")
    single, batch = made_for(name), toy.batch(12)
    for number, view in enumerate(("video", "video_2", "audio", "audio_2")):  # clips that differ as a whole
        colours = tf.random.stateless_normal((12, 1, 1, 3 if "video" in view else 4), (number, 0))
        batch[view] = colours[:, None] + batch["video"] if "video" in view else tf.transpose(colours, (0, 1, 3, 2))
    (got, logs), (expected, wanted) = (
        accumulation.gradients(model, batch, model.trainable_variables, 1) for model in (half, single)
    )
    assert {g.dtype for g in got if g is not None} == {tf.float32}
    dense = [[tf.convert_to_tensor(g) for g in gradients if g is not None] for gradients in (got, expected)]
    assert all(np.isfinite(g).all() for g in dense[0]) and max(np.abs(g).max() for g in dense[0]) > 1e-3
    assert cosine(*dense) > 0.9995
    values = [float(step_logs["total_loss"][0]) for step_logs in (logs, wanted)]
    np.testing.assert_allclose(*values, rtol=5e-3)
    paths = [[float(model.take_step(batch)[0, 0]) for _ in range(2)] for model in (half, single)]
    np.testing.assert_allclose(*paths, rtol=1e-2)
