"""Identities: the same for what means the same, another for every setting that an output depends on."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.backbones.batch_norm import BatchNorm
from mmv_tf.backbones.text_network import TextNetwork
from mmv_tf.backbones.transformers.video_transformer import VideoTokens
from mmv_tf.common import identity
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.text import Tokenizer


class _Layer(keras.layers.Layer):
    def __init__(self, epsilon=1e-5, activation=keras.ops.relu, initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.norm = BatchNorm(epsilon=epsilon)
        self.dense = keras.layers.Dense(3, activation=activation, kernel_initializer=initializer or "zeros")
        self.parts = [self.norm, {"last": self.dense}]
        self.owner = self  # a circle

    def build(self, shape):
        self.norm.build(shape)
        self.dense.build(shape)


@dataclasses.dataclass
class _Settings:
    size: int
    sort: str = "x"


def _scaled(by):
    return lambda x: x * by


ONE = [
    lambda: LogMel(),
    lambda: Tokenizer(("red", "ball", "the")),
    lambda: _Layer(),
    lambda: _Settings(3),
    lambda: _scaled(2),
    lambda: functools.partial(np.round, decimals=2),
    lambda: [1, 1.0, None, b"x", "y", (1, {"b": 2, "a": {3, 1, 2}})],
    lambda: np.arange(6.0).reshape(2, 3),
]
OTHER = [
    lambda: [LogMel(normalize=True), LogMel(min_frequency=81.0)],
    lambda: [
        Tokenizer(("red", "ball", "the"), max_words=1),
        Tokenizer(("red", "ball", "the"), remove_stop_words=False),
        Tokenizer(("ball", "red", "the")),
        Tokenizer(("red", "ball", "the"), max_bytes=7),
    ],
    lambda: [_Layer(epsilon=0.5), _Layer(activation=keras.ops.gelu), _Layer(dtype="mixed_bfloat16")],
    lambda: [_Settings(4), _Settings(3, "y")],
    lambda: [_scaled(3), lambda x: x - 2],
    lambda: [functools.partial(np.round, decimals=3)],
    lambda: [[1, 1.0, None, b"x", "y", (1, {"b": 2, "a": {3, 1, 4}})], [1, 1, None, b"x", "y"], [True]],
    lambda: [np.arange(6.0).reshape(3, 2), np.arange(6, dtype=np.float32).reshape(2, 3)],
]


@pytest.mark.parametrize(("one", "others"), zip(ONE, OTHER, strict=True))
def test_every_setting_counts_and_which_object_it_is_does_not(one, others):
    found = [identity.of(one()), *map(identity.of, others())]
    assert found[0] == identity.of(one())
    assert len(set(found)) == len(found)


def test_what_was_used_is_what_it_was():
    layer, tokenizer = _Layer(), Tokenizer(("red", "ball"))
    layer.build((None, 4))
    before = identity.of(layer, tokenizer)
    tf.function(layer.dense)(tf.zeros([2, 4]))
    tokenizer(tf.constant(["red ball"]))
    assert identity.of(layer, tokenizer) == before


def test_names_of_layers_and_where_vectors_came_from_do_not_count():
    assert identity.of(TextNetwork(vectors="a.npy", name="a")) == identity.of(TextNetwork(name="b"))
    assert identity.of(TextNetwork(units=8)) != identity.of(TextNetwork(units=16))


@dataclasses.dataclass
class _Head:
    dropout: float = dataclasses.field(default=0.0, metadata={identity.TRAINING_ALONE: True})


def test_what_concerns_training_alone_counts_for_what_is_made_by_it():
    dropped = [
        VideoTokens(drop_token=share, trainable=trained) for share, trained in ((0, True), (0.7, True), (0, False))
    ]
    for layers in (dropped, [_Head(), _Head(0.1)]):
        assert len({identity.of(one) for one in layers}) == 1
        assert len({identity.of_training(one) for one in layers}) == len(layers)


def test_weights_count_by_name_and_value():
    a, b = tf.Variable([1.0, 2.0]), tf.Variable([1.0, 3.0])
    found = [identity.of_weights(one) for one in ({"x": a}, {"x": b}, {"y": a}, [a], [a, b], [b, a])]
    assert len(set(found)) == 6 and identity.of_weights({"x": tf.Variable([1.0, 2.0])}) == found[0]


def test_layers_that_keras_numbers_inside_are_the_same():
    layers = [keras.layers.Dropout(0.5) for _ in range(2)]  # each with a seed that has a number for its name
    assert identity.of(layers[0]) == identity.of(layers[1])
    assert identity.of_training(layers[0]) == identity.of_training(layers[1])
    assert identity.of(layers[0]) != identity.of(keras.layers.Dropout(0.5, seed=7))
