"""What a step logs, by hand; and that logs of replicas add up to those of one device."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.model import step_logs
from mmv_tf.model.losses import Compared, Embeddings


def _means(logs):
    return {name: float(total / weight) if weight else None for name, (total, weight) in logs.items()}


def test_a_pair_is_averaged_over_what_is_valid_and_by_source():
    valid = tf.constant([True, True, False, True])
    compared = Compared(
        loss=tf.constant([1.0, 2.0, np.nan, 6.0]),
        valid=valid,
        count=tf.constant(3.0),
        found=tf.constant([True, False, True, False]),
        found_reverse=tf.constant([True, True, True, False]),
        positive=tf.constant([3.0, 0.0, np.inf, 0.0]),
        negative=tf.constant([0.0, 0.0, 9.0, -3.0]),
    )
    logs = step_logs.of_pair("video_text", compared, ("how", "audio", "more"), tf.constant([0, 0, 1, 2]))
    assert _means(logs) == pytest.approx(
        {
            "loss/video_text": 3.0,
            "accuracy/video_text": 1 / 3,
            "accuracy/video_text_reverse": 2 / 3,
            "similarity/video_text/positive": 1.0,
            "similarity/video_text/negative": -1.0,
            "loss/video_text/how": 1.5,
            "loss/video_text/audio": None,  # its only sample has no text
            "loss/video_text/more": 6.0,
        }
    )


def test_norm_and_spread_of_what_is_there():
    embeddings = np.array([[3.0, 4.0], [-6.0, -8.0], [np.nan, 0.0]], np.float32)
    logs = step_logs.of_embeddings("audio/va", Embeddings.single(embeddings, np.array([True, True, False])))
    assert _means(logs) == pytest.approx({"norm/audio/va": 7.5, "spread/audio/va": 1.0})  # two opposite directions
    collapsed = step_logs.of_embeddings("audio/va", Embeddings.single(np.ones((4, 3), np.float32)))
    assert _means(collapsed)["spread/audio/va"] == pytest.approx(0.0, abs=1e-3)


def test_nan_in_what_is_there_is_seen():
    embeddings = np.array([[3.0, 4.0], [np.nan, 1.0]], np.float32)
    assert all(np.isnan(v) for v in _means(step_logs.of_embeddings("a/s", Embeddings.single(embeddings))).values())


def _step(strategy, batch, optimizer):
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model = toy.mmv(graphs.fac())
        model.compile(optimizer=optimizer())
        model.optimizer.build(model.trainable_variables)
        model.source_names = ("a", "b")

    def part(context):
        size = len(batch["source"]) // replicas
        return {n: v[context.replica_id_in_sync_group * size :][:size] for n, v in batch.items()}

    values = strategy.experimental_distribute_values_from_function(part) if replicas > 1 else batch
    sums = strategy.run(model.take_step, args=(values,))
    sums = strategy.experimental_local_results(sums)[0].numpy()
    return dict(zip(model.log_names, sums, strict=True)), [np.array(v) for v in model.trainable_variables]


def test_two_replicas_log_and_clip_the_gradient_of_the_global_batch():
    batch = {**toy.batch(8), "source": tf.constant([0, 1] * 4)}

    def optimizer():  # a norm that clips, of the sum and not of each replica's part
        return keras.optimizers.SGD(1.0, global_clipnorm=0.05)

    one, weights = _step(tf.distribute.get_strategy(), batch, optimizer)
    two, others = _step(toy.mirrored(2), batch, optimizer)
    for name, (total, weight) in one.items():
        if name.startswith("accuracy"):
            continue  # a tie falls either way
        np.testing.assert_allclose(two[name], [total, weight], rtol=1e-4, atol=1e-6, err_msg=name)
    for mine, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-5)
