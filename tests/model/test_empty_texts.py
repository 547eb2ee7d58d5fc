"""Texts whose words have no vector are no texts: masks, gradients, the log."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.backbones import TextNetwork
from mmv_tf.model import accumulation
from mmv_tf.model.mmv import MMV

WITHOUT = 15  # ids from here on have no vector


def _model(tmp_path, micro_batches=1):
    vectors = np.random.RandomState(3).standard_normal((20, 8)).astype(np.float32)
    vectors[0], vectors[WITHOUT:] = 0, 0
    np.save(tmp_path / "vectors.npy", vectors)
    keras.utils.set_random_seed(0)
    backbones = {
        "video": toy.ToyBackbone(),
        "audio": toy.ToyBackbone(),
        "text": TextNetwork(20, 8, 6, vectors=str(tmp_path / "vectors.npy")),
    }
    model = MMV(backbones=backbones, graph=graphs.fac(), micro_batches=micro_batches)
    model.build_by_call(toy.batch(2))
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    return model


def _batches():
    """One in which clip 3 has words without a vector alone, and clip 5 one of two narrations; the same with masks."""
    batch = toy.batch(8)
    words = np.random.RandomState(1).randint(1, WITHOUT, (8, 2, 3)).astype(np.int32)
    words[3], words[5, 0], words[6, 0] = WITHOUT + 2, [WITHOUT, 0, WITHOUT + 1], [WITHOUT, 2, 0]
    mask = np.ones((8, 2), bool)
    mask[4] = False  # without text from the beginning
    left = mask.copy()
    left[3], left[5, 0] = False, False
    batch = {**batch, "text": tf.constant(words)}
    return {**batch, "text_mask": tf.constant(mask)}, {**batch, "text_mask": tf.constant(left)}


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_they_leave_no_trace_and_are_counted(tmp_path, micro_batches):
    given, left = _batches()
    results = []
    for batch in (given, left):
        model = _model(tmp_path, micro_batches)
        found, logs = accumulation.gradients(model, batch, model.trainable_variables, micro_batches)
        results.append([np.zeros(()) if g is None else tf.convert_to_tensor(g).numpy() for g in found])
        total, weight = (float(x) for x in logs["empty/text"])
        assert (total, weight) == ((1, 7) if batch is given else (0, 6))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_step_logs_their_share(tmp_path):
    model = _model(tmp_path)
    sums = dict(zip(model.log_names, model.take_step(_batches()[0]).numpy(), strict=True))
    np.testing.assert_array_equal(sums["empty/text"], [1, 7])
    assert sums["gradient_norm"][0] < 200


def test_which_texts_say_something(tmp_path):
    network = _model(tmp_path).backbones["text"]
    words = tf.constant([[[1, 0], [WITHOUT, 0]], [[0, 0], [WITHOUT, 3]]])
    assert network.says_something(words).numpy().tolist() == [[True, False], [False, True]]
