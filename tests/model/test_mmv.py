"""MMV: embeddings by the graph, one step on replicas equal to one device, `fit`, checkpoints."""

import functools
import importlib
import inspect

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.common import config
from mmv_tf.model import losses, record_losses, scorers
from mmv_tf.model.graph import Graph
from mmv_tf.model.memory import Memory
from mmv_tf.model.mmv import MMV


def test_embed_gives_every_space_that_a_modality_has_a_path_to():
    model = toy.mmv(graphs.fac(), compiled=False)
    embeddings = model.embed(toy.batch(3))
    assert {m: sorted(e) for m, e in embeddings.items()} == {
        "video": ["repr", "va", "vat"],
        "audio": ["repr", "va", "vat"],
        "text": ["repr", "vat"],
    }
    assert embeddings["text"]["vat"].shape == (3, 2, 4)  # two candidate narrations
    only = model.embed({"audio": toy.batch(3)["audio"]})
    assert list(only) == ["audio"]
    np.testing.assert_array_equal(only["audio"]["vat"], embeddings["audio"]["vat"])


def test_fac_applies_one_head_to_two_modalities_and_relu_only_on_the_way():
    model = toy.mmv(graphs.fac(), compiled=False)
    audio = model.embed(toy.batch(4))["audio"]
    coarse = model.heads["va -> vat"]
    kernel, bias = (np.array(w) for w in (coarse.projection.kernel, coarse.projection.bias))
    by_hand = np.maximum(np.array(audio["va"]), 0) @ kernel + bias
    np.testing.assert_allclose(audio["vat"], by_hand / np.sqrt(1 + 1e-5), atol=1e-6)
    assert np.min(audio["va"]) < 0


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_backbone_may_be_a_functional_model_or_hold_one(wrapped):
    class Wrapper(keras.layers.Layer):
        def __init__(self, network):
            super().__init__()
            self.network, self.output_dim = network, 6

        def call(self, x, training=False):
            return self.network(x, training=training)

    keras.utils.set_random_seed(0)
    given = keras.Input((2, 4, 4, 3))
    x = keras.layers.Dense(5, name="first")(keras.layers.GlobalAveragePooling3D()(given))
    network = keras.Model(given, keras.layers.Dense(6, name="second")(x))
    graph = Graph(spaces={"va": 3}, heads=[("video", "va"), ("audio", "va")], pairs=[("video", "audio", "va")])
    model = MMV({"video": Wrapper(network) if wrapped else network, "audio": toy.ToyBackbone()}, graph)
    model.build_by_call(toy.batch(2))
    heads = ["video -> va/projection/kernel", "video -> va/projection/bias"]
    names = [f"video/{layer}/{kind}" for layer in ("first", "second") for kind in ("kernel", "bias")]
    found = model.named_variables()
    assert [name for name in found if name.startswith("video")] == [*names, *heads]
    assert found["video/second/bias"] is network.get_layer("second").bias and "audio/dense/kernel" in found


def test_training_leaves_out_what_no_pair_needs():
    model = toy.mmv(graphs.fac(), compiled=False)
    assert sorted(model.embed(toy.batch(4), training=True)["audio"]) == ["repr", "va"]


def test_losses_are_weighted_and_named():
    model = toy.mmv(graphs.shared(), compiled=False)
    total, logs = model.compute_losses(toy.batch(6), training=True)
    means = {name: value / weight for name, (value, weight) in logs.items()}
    np.testing.assert_allclose(total, means["loss/video_audio"] + 2.0 * means["loss/video_text"], rtol=1e-6)
    assert [*logs, "gradient_norm"] == model.log_names


def _represented(mask, **compiled):
    """Representations, gradients and moving averages after a pass in training mode."""
    model = toy.mmv(graphs.fac())
    model.compile(optimizer="sgd", **compiled)
    batch = {**toy.batch(6), "audio_mask": tf.constant(mask)}
    with tf.GradientTape() as tape:
        audio = model.represent(batch, training=True)["audio"]
        loss = tf.reduce_sum(tf.where(batch["audio_mask"][:, None], audio**2, 0.0))
    weights = model.backbones["audio"].trainable_variables
    return (
        np.array(audio)[mask],
        tape.gradient(loss, weights),
        [np.array(v) for v in model.backbones["audio"].variables],
    )


@pytest.mark.parametrize("mask", [[True, True, False, True, False, True], [True] * 6, [False] * 6])
def test_what_is_missing_leaves_no_trace_whether_shapes_are_static_or_not(mask):
    free, static = _represented(mask), _represented(mask, jit_compile=True)
    for mine, other in zip(tf.nest.flatten(free), tf.nest.flatten(static), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    counter = free[2][-1]
    assert counter == float(any(mask))


@functools.cache
def _steps(replicas, graph, size, steps):
    """Trains on the same global batches; returns logs and what the model then computes.

    Without a graph, which takes longer to trace for several replicas than so few steps take.
    """
    strategy = toy.mirrored(replicas) if replicas > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model = toy.mmv(graph())

    def step(values):
        return strategy.run(model.train_step, args=(values,))

    logs = []
    for number in range(steps):
        whole = toy.batch(size, seed=number)

        def part(context, whole=whole):
            share = size // replicas
            first = context.replica_id_in_sync_group * share
            return {name: value[first : first + share] for name, value in whole.items()}

        result = step(strategy.experimental_distribute_values_from_function(part) if replicas > 1 else whole)
        logs.append({n: float(strategy.experimental_local_results(v)[0]) for n, v in result.items()})
    outputs = model.embed(toy.batch(5, seed=99))
    averages = [np.array(v) for v in model.non_trainable_variables if "moving" in v.path]
    return logs, outputs, averages


@pytest.mark.parametrize(("graph", "replicas"), [(graphs.fac, 3), (graphs.shared, 2)])
def test_replicas_take_the_step_of_one_device(graph, replicas):
    size, steps = 12, 2
    one = _steps(1, graph, size, steps)
    many = _steps(replicas, graph, size, steps)
    for logs, others in zip(one[0], many[0], strict=True):
        for name in (n for n in logs if "loss" in n):  # a tie of two samples falls either way in an accuracy
            np.testing.assert_allclose(logs[name], others[name], rtol=1e-5, err_msg=name)
    for modality, spaces in one[1].items():
        for space, value in spaces.items():
            atol = 2e-5 * np.abs(value).max()
            np.testing.assert_allclose(value, many[1][modality][space], rtol=0, atol=atol, err_msg=space)
    for mine, others in zip(one[2], many[2], strict=True):
        np.testing.assert_allclose(mine, others, rtol=1e-5, atol=1e-6)


def test_gradients_on_two_replicas_sum_to_those_of_one_device():
    graph, whole = graphs.fac(), toy.batch(8)

    def gradients(model, batch):
        with tf.GradientTape() as tape:
            total, _ = model.compute_losses(batch, training=True)
        found = tape.gradient(total, model.trainable_variables)
        return [
            tf.zeros_like(v) if g is None else tf.convert_to_tensor(g)
            for g, v in zip(found, model.trainable_variables, strict=True)
        ]

    one = gradients(toy.mmv(graph), whole)
    strategy = toy.mirrored(2)
    with strategy.scope():
        model = toy.mmv(graph)
    halves = strategy.experimental_distribute_values_from_function(
        lambda c: {n: v[c.replica_id_in_sync_group * 4 :][:4] for n, v in whole.items()}
    )
    two = strategy.run(gradients, args=(model, halves))
    largest = max(np.abs(gradient).max() for gradient in one)
    for mine, other in zip(one, two, strict=True):
        summed = sum(np.array(part) for part in strategy.experimental_local_results(other))
        np.testing.assert_allclose(mine, summed, rtol=0, atol=1e-5 * largest)


def _every_loss():
    """{name: loss} of all that a graph can name."""
    for module in config._CONFIGURABLE_MODULES:
        if module.startswith("mmv_tf.model."):
            importlib.import_module(module)
    known = {name: one for name, one in gin.config._REGISTRY._selector_map.items() if name.startswith("mmv_tf.")}
    returned = {name: inspect.signature(one.wrapped).return_annotation for name, one in known.items()}
    return {
        name.rpartition(".")[2]: known[name].wrapper
        for name, kind in returned.items()
        if inspect.isclass(kind) and issubclass(kind, losses.Compared)
    }


def _graph_of_every_loss() -> Graph:
    """A pair by each loss, and one with further negatives where the loss takes them."""
    kinds = {record_losses.Remembered: "memory:audio", record_losses.Labels: "table:classes"}
    pairs = []
    for name, loss in _every_loss().items():
        second, space = kinds.get(losses.takes_second(loss), "audio"), "order" if name == "order" else "s"
        options = {"loss": loss, **({"scorer": scorers.Scorer} if losses.takes_score(loss) else {})}
        pairs.append(("video", second, space, options))
        if losses.takes_others(loss):
            own = {"against_own": True} if losses.needs_own(loss) else {}
            pairs.append(("video", second, space, {**options, **own, "against": ("audio_2",)}))
    return Graph(
        spaces={"s": 4, "order": 1},
        heads=[(modality, space) for modality in ("video", "audio") for space in ("s", "order")],
        pairs=pairs,
        views={"audio_2": "audio"},
        memories={("audio", "s"): Memory(negatives=5)},
    )


def _logs_of_every_loss(replicas):
    """{log: mean} of a batch; of several replicas inside of a graph, where TensorFlow forgets shapes as they meet."""
    strategy, size = toy.mirrored(replicas) if replicas > 1 else tf.distribute.get_strategy(), 8
    with strategy.scope():
        model = toy.mmv(_graph_of_every_loss(), compiled=False)
        model.keep_records(12, "0123456789abcdef" * 2, {"classes": 1})
    model.per_record.begin(3)
    model.per_record.set_table("classes", np.arange(12, dtype=np.int32)[:, None] % 4)
    whole = {name: value for name, value in toy.batch(size).items() if not name.startswith("text")}
    whole |= {"audio_2": toy.batch(size, seed=1)["audio"], "index": tf.range(size)}

    def part(context):
        first, share = context.replica_id_in_sync_group * size // replicas, size // replicas
        return {name: value[first : first + share] for name, value in whole.items()}

    if replicas == 1:
        return {name: value.numpy() for name, value in model.test_step(whole).items()}
    step = tf.function(lambda values: strategy.run(model.test_step, args=(values,)), autograph=False)
    logs = step(strategy.experimental_distribute_values_from_function(part))
    return {name: strategy.experimental_local_results(value)[0].numpy() for name, value in logs.items()}


def test_every_loss_is_on_replicas_inside_of_a_graph_what_it_is_on_one_device():
    one, two = _logs_of_every_loss(1), _logs_of_every_loss(2)
    assert sum(name.startswith("loss/") for name in one) > len(_every_loss()) >= 12
    for name in (n for n in one if n.partition("/")[0] in ("total_loss", "loss", "similarity", "spread")):
        np.testing.assert_allclose(two[name], one[name], rtol=2e-4, atol=1e-5, err_msg=name)


def test_fit_works_on_one_device_and_the_loss_falls():
    model = toy.mmv(graphs.fac(), learning_rate=0.05)
    data = tf.data.Dataset.from_tensors(toy.batch(12)).repeat()
    history = model.fit(data, epochs=3, steps_per_epoch=15, verbose=0).history
    assert history["total_loss"][0] > history["total_loss"][1] > history["total_loss"][2] > 0


def test_every_variable_has_a_stable_name():
    names = list(toy.mmv(graphs.fac()).named_variables())
    assert len(names) == len(toy.mmv(graphs.fac()).variables)
    assert names == list(toy.mmv(graphs.fac(), seed=1).named_variables())
    assert "video/norm/moving_mean" in names and "va -> vat/projection/bias" in names


def test_backbones_and_graph_must_fit():
    with pytest.raises(ValueError, match="the modality 'audio', and MMV.backbones has none"):
        MMV(backbones={"video": toy.ToyBackbone(), "text": toy.ToyText()}, graph=graphs.fac())
    with pytest.raises(ValueError, match="'depth', and no head"):
        backbones = {"video": toy.ToyBackbone(), "audio": toy.ToyBackbone(), "text": toy.ToyText()}
        MMV(backbones={**backbones, "depth": toy.ToyBackbone()}, graph=graphs.fac())
