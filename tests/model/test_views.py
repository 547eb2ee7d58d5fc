"""Views in the model: one batch or several, heads of their own, replicas and micro-batches, missing views."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from mmv_tf.model import accumulation, classification, losses, scorers
from mmv_tf.model.gdt import gdt_pairs
from mmv_tf.model.graph import Graph
from mmv_tf.model.mmv import MMV

HEADS = [("video", "v", {"hidden": (6,), "batch_norm": True})]
PAIR = ("video", "video_2", "v", {"loss": losses.nt_xent})


def two(**more) -> Graph:
    return Graph(**{"spaces": {"v": 4}, "heads": HEADS, "pairs": [PAIR], "views": {"video_2": "video"}, **more})


def everything() -> Graph:
    """Views of two modalities, all losses, a predictor, further negatives, a scorer, heads that classify."""
    views = {f"{m}{s}": m for m in ("video", "audio") for s in ("_2", "_r", "_2r")}
    hard = {"loss": losses.margin, "against": ("audio_2",), "against_own": True}
    return Graph(
        spaces={"va": 4, "z": 4, "h": 4, "order": 1},
        heads=[
            *[(m, space) for space in ("va", "z") for m in ("video", "audio")],
            ("z", "h", {"hidden": (5,)}),
            ("audio", "order"),
        ],
        pairs=[
            *gdt_pairs(5, weight=0.5),
            ("video", "audio", "va", {"loss": losses.margin}),
            ("video_2", "audio_r", "va", hard),
            ("video", "audio", "h", {"loss": losses.regression, "second_space": "z"}),
            ("video_r", "video_2", "z", {"loss": losses.nt_xent, "against": ("video",)}),
            ("audio", "audio_2", "z", {"loss": scorers.coincidence, "scorer": scorers.Scorer}),
            ("audio", "audio_2", "order", {"loss": classification.order}),
            ("audio", "audio_2", "h", {"loss": classification.cluster_entropy}),
        ],
        views=views,
    )


def model_of(graph, replicas=1, backbone=toy.ToyBackbone, **settings) -> MMV:
    keras.utils.set_random_seed(0)
    model = MMV({m: backbone() for m in graph.modalities}, graph, **settings)
    model.build_by_call({m: toy.batch(2)[m] for m in graph.modalities})
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    return model


def batch(graph, size, seed=0):
    """Every third sound is missing, and every fourth second sound."""
    found = {}
    for number, name in enumerate(graph.inputs):
        like = toy.batch(size, seed=seed + 10 * number, missing=False)
        found[name] = like[graph.modality_of(name)]
        found[f"{name}_mask"] = tf.ones([size], tf.bool)
        if graph.modality_of(name) == "audio":
            found[f"{name}_mask"] = tf.range(size) % (4 if name == "audio_2" else 3) != 2
    return found


def _gradients(model, inputs):
    gradients, logs = accumulation.gradients(model, inputs, model.trainable_variables, model.micro_batches)
    shapes = (v.shape for v in model.trainable_variables)
    dense = [tf.zeros(s) if g is None else tf.convert_to_tensor(g) for g, s in zip(gradients, shapes, strict=True)]
    return dense, {name: total for name, (total, _) in logs.items()}


def test_views_that_pass_as_one_batch_share_its_statistics():
    graph = two()
    inputs = batch(graph, 5)
    together = model_of(graph)
    found = together.represent(inputs, training=True)
    joined = tf.concat([inputs["video"], inputs["video_2"]], axis=0)
    expected = model_of(graph).backbones["video"](joined, training=True)
    np.testing.assert_allclose(tf.concat([found["video"], found["video_2"]], axis=0), expected, rtol=1e-6)
    total, _ = together.compute_losses_of(found, inputs, training=True)
    ends = model_of(graph).embed_repr("video", expected, training=True)["v"]
    wanted = losses.nt_xent(losses.Embeddings.single(ends[:5]), losses.Embeddings.single(ends[5:])).share()
    np.testing.assert_allclose(total, wanted, rtol=1e-6)


def test_views_that_pass_one_by_one_have_statistics_of_their_own():
    graph = two()
    inputs = batch(graph, 5)
    apart, reference = model_of(graph, join_views=False), model_of(graph)
    found = apart.represent(inputs, training=True)
    for name in graph.inputs:
        expected = reference.backbones["video"](inputs[name], training=True)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)
    counters = [v for v in apart.backbones["video"].variables if v.name == "counter"]
    assert [float(v) for v in counters] == [2.0]


def test_views_of_two_shapes_pass_one_by_one_or_are_refused():
    graph = two()
    inputs = {**batch(graph, 3), "video_2": tf.zeros([3, 1, 2, 2, 3])}
    with pytest.raises(
        ValueError, match=r"\(video \[2, 4, 4, 3\], video_2 \[1, 2, 2, 3\]\): set MMV.join_views = False"
    ):
        model_of(graph).compute_losses(inputs, training=True)
    assert np.isfinite(model_of(graph, join_views=False).compute_losses(inputs, training=True)[0])


def test_what_no_pair_compares_is_not_looked_at_in_a_test_either():
    views = {"video_2": "video", "video_3": "video"}
    graph = two(views=views, pairs=[("video_2", "video_3", "v", {"loss": losses.nt_xent})])
    model, inputs = model_of(graph), {**batch(graph, 3), "video": tf.zeros([3, 1, 2, 2, 3])}
    for training in (True, False):
        total, logs = model.compute_losses(inputs, training=training)
        assert total > 0 and "spread/video/v" not in logs


def test_a_view_is_embedded_as_its_modality_and_needs_no_batch_to_build():
    model, inputs = model_of(two()), batch(two(), 3)
    found = model.embed({"video": inputs["video"], "video_2": inputs["video"]})
    np.testing.assert_array_equal(found["video"]["v"], found["video_2"]["v"])
    assert set(model.embed({"video": inputs["video"]})) == {"video"}


def test_a_head_of_the_view_stands_in_place_of_the_modalitys():
    graph = two(heads=[*HEADS, ("video_2", "v")])
    model, inputs = model_of(graph), batch(graph, 4)
    assert sorted(model.heads) == ["video -> v", "video_2 -> v"]
    representations = model.represent(inputs, training=True)
    found = model._embed_together(representations, training=True, masks=dict.fromkeys(graph.inputs))
    own = model.heads["video_2 -> v"](representations["video_2"], training=True)
    np.testing.assert_allclose(found["video_2"]["v"], own, rtol=1e-6)
    assert "video_2 -> v/projection/kernel" in model.named_variables()


def test_further_negatives_and_targets_reach_the_loss():
    graph = everything()
    model, inputs = model_of(graph), batch(graph, 6)
    total, logs = model.compute_losses(inputs, training=True)
    assert list(logs) == model.log_names[:-1] and len(set(model.log_names)) == len(model.log_names)
    sides = {}
    for modality in ("video", "audio"):
        names = graph.inputs_of(modality)
        masks = {name: inputs[f"{name}_mask"] for name in names}
        reps = {name: r for name, r in model.represent(inputs, training=True).items() if name in names}
        for name, spaces in model._embed_together(reps, training=True, masks=masks).items():
            sides |= {(name, space): losses.Embeddings.single(x, masks[name]) for space, x in spaces.items()}
    by_hand = 0.0
    for pair in graph.pairs:
        others = [sides[name, pair.second_space or pair.space] for name in pair.against]
        settings = {"against_own": pair.against_own} if others else {}
        settings |= {"score": model.scorers[pair.scorer_name]} if pair.scorer else {}
        second = sides[pair.second, pair.second_space or pair.space]
        compared = pair.loss(sides[pair.first, pair.space], second, *others, **settings)
        by_hand += pair.weight * compared.share()
        total_of_pair, weight = logs[f"loss/{graph.pair_name(pair)}"]
        np.testing.assert_allclose(total_of_pair / weight, compared.share(), rtol=1e-5)
    np.testing.assert_allclose(total, by_hand, rtol=1e-5)


@pytest.mark.parametrize("own", [True, False])
def test_a_loss_is_given_what_its_pair_says_of_the_own_entry(own):
    given = []

    def loss(first, second, *others, against_own):
        given.append((len(others), against_own))
        return losses.nce(first, second)

    graph = two(pairs=[("video", "video_2", "v", {"loss": loss, "against": ("video_3",), "against_own": own})],
                views={"video_2": "video", "video_3": "video"})  # fmt: skip
    model_of(graph).compute_losses(batch(graph, 2))
    assert given == [(1, own)]


def test_a_view_may_have_the_name_of_a_reverse():
    graph = Graph(
        spaces={"va": 4},
        heads=[("video", "va"), ("audio", "va")],
        pairs=[("video", "audio", "va"), ("video", "audio_reverse", "va")],
        views={"audio_reverse": "audio"},
    )
    model, inputs = model_of(graph), batch(graph, 6)
    expected = model_of(graph).compute_losses(inputs, training=True)[1]
    logs = model.train_step(inputs)
    assert list(logs) == model.log_names and len(logs) == 1 + 2 * 5 + 3 * 2 + 1
    for name, (total, weight) in expected.items():
        np.testing.assert_allclose(logs[name], total / weight, rtol=1e-5, err_msg=name)


def test_two_replicas_of_two_micro_batches_have_the_gradient_of_one_batch():
    """With every loss, masks and views; without batch norm in the backbone, which sees its own part of the batch."""

    class Plain(toy.ToyBackbone):
        def call(self, inputs, training=False):
            return tf.nn.tanh(self.dense(tf.reduce_mean(inputs, list(range(1, len(inputs.shape) - 1)))))

    graph = everything()
    assert set(graph.inputs) - set(graph.trained_inputs) == {"video_2r", "audio_2r"}  # of which nobody asks
    whole = batch(graph, 8)
    expected, logs = _gradients(model_of(graph, backbone=Plain), whole)
    strategy = toy.mirrored(2)
    with strategy.scope():
        model = model_of(graph, backbone=Plain, micro_batches=2)
    halves = strategy.experimental_distribute_values_from_function(
        lambda c: {n: v[c.replica_id_in_sync_group * 4 :][:4] for n, v in whole.items()}
    )
    found, parts = strategy.run(_gradients, args=(model, halves))
    largest = max(np.abs(g).max() for g in expected)
    for mine, other in zip(found, expected, strict=True):
        summed = sum(np.array(part) for part in strategy.experimental_local_results(mine))
        np.testing.assert_allclose(summed, other, rtol=0, atol=2e-5 * largest)
    for name in (n for n in logs if "loss" in n or "similarity" in n):
        summed = sum(np.array(part) for part in strategy.experimental_local_results(parts[name]))
        np.testing.assert_allclose(summed, logs[name], rtol=2e-4, atol=1e-5, err_msg=name)


def test_a_missing_view_leaves_no_trace_in_statistics():
    graph = two()
    inputs = batch(graph, 6)
    inputs["video_2_mask"] = tf.constant([True, True, False, True, False, True])
    other = {**inputs, "video_2": tf.where(inputs["video_2_mask"][:, None, None, None, None], inputs["video_2"], 9.0)}
    results = [model_of(graph).compute_losses(one, training=True)[0] for one in (inputs, other)]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
