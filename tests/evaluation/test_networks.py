"""Networks behind one interface: what is put into them, and what is fresh in a fresh one."""

import numpy as np
import tensorflow as tf

from helpers import tiny_export
from mmv_tf.evaluation import run
from mmv_tf.evaluation.networks import Network
from mmv_tf.training import workdir


def test_8_bit_pixels_come_as_0_to_1():
    shown = Network("network", "1", {"video": lambda x: {"it": tf.reduce_mean(x, [1, 2, 3])}}, {"video": ("it",)})
    frames = tf.constant(np.full((2, 3, 4, 4, 3), 255, np.uint8))
    np.testing.assert_allclose(shown.function("video", "it")(frames), np.ones((2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(shown.function("video", "it")(tf.ones([2, 3, 4, 4, 3])), np.ones((2, 3)))


def test_a_fresh_network_keeps_the_word_vectors_that_training_leaves_alone():
    """Otherwise the baseline would lack what was given to the network, and not learned by it."""
    kept = {}
    for learned in (False, True):
        loaded = workdir.load(str(tiny_export.export().workdir), [f"TextNetwork.learned = {learned}"])
        fresh, _ = run._fresh(7, loaded)
        trained = loaded.model.named_variables()
        same = {name: np.array_equal(v, trained[name]) for name, v in fresh.named_variables().items()}
        kept[learned] = same["text/embeddings"]
        assert not same["text/dense/kernel"] and fresh.backbones["text"].learned is learned
    assert kept == {False: True, True: False}
