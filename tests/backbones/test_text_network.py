"""The text network against the released one."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.golden_recipe import assert_close, assign, load, make_array, make_inputs, unit_input
from mmv_tf.backbones import TextNetwork
from mmv_tf.released import name_map


def test_small_network_equals_the_reference():
    words = np.array([[1, 2, 3, 0, 0, 0], [5, 4, 3, 2, 1, 0], [0, 0, 0, 0, 0, 0]], np.int32)
    network = TextNetwork(10, dim=7, units=5)
    network(words)
    assign(name_map.text_network(network, "text/~"))
    assert_close(network(words), load("units")["text/eval"], 1e-6)
    assert_close(network(np.stack([words, words[::-1]], 1))[:, 0], load("units")["text/eval"], 1e-6)  # candidates


def test_network_with_its_head_equals_the_reference():
    words = make_inputs(4, 16, 64, 64)[2]
    network = TextNetwork(1000)
    network(words)
    assign(name_map.text_network(network))
    head = f"{name_map.HEADS}/txt_embd/final_projection"
    kernel, bias = make_array(f"{head}/w", (2048, 256)), make_array(f"{head}/b", (256,))
    assert_close(network(words) @ kernel + bias, load("backbones")["text/tovid"], 1e-5)
    assert network.count_params() == 1000 * 300 + 616_448


@pytest.mark.parametrize("learned", [False, True])
def test_vectors_change_only_if_learned(learned):
    network = TextNetwork(10, dim=7, units=5, learned=learned)
    words = np.array([[[1, 2, 0]]], np.int32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(words))
    assert any(v is network.embeddings for v in network.trainable_variables) == learned
    assert (tape.gradient(loss, network.embeddings.value) is not None) == learned


def test_padding_starts_at_zero_and_adds_nothing():
    network = TextNetwork(10, dim=7, units=5)
    assert_close(network(np.array([[3, 4, 0, 0]])), network(np.array([[3, 4, 3, 3]])), 1e-6)
    np.testing.assert_array_equal(network(np.zeros((1, 4), np.int32)), np.zeros((1, 5)))


def test_vectors_from_a_file(tmp_path):
    matrix = unit_input("vectors", (10, 7))
    np.save(tmp_path / "vectors.npy", matrix)
    network = TextNetwork(10, dim=7, units=5, vectors=str(tmp_path / "vectors.npy"))
    network(np.array([[1]]))
    np.testing.assert_array_equal(network.embeddings, matrix)
    with pytest.raises(
        ValueError, match="vectors.npy: 10 vectors of 7 numbers, but TextNetwork has vocabulary_size = 11"
    ):
        TextNetwork(11, dim=7, vectors=str(tmp_path / "vectors.npy"))(np.array([[1]]))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"takes word ids \[B,W\] or \[B,K,W\], not \(3,\)"):
        TextNetwork(10, dim=7, units=5)(np.array([1, 2, 3]))
