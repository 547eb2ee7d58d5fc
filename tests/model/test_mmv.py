"""MMV: embeddings by the graph, one step on replicas equal to one device, `fit`, checkpoints."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
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


@pytest.mark.parametrize(("graph", "replicas"), [(graphs.fac, 2), (graphs.fac, 4), (graphs.shared, 2)])
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
