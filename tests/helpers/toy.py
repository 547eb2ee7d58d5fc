"""Small stand-ins for backbones and data, where a test is about what lies between them."""

import functools

import keras
import numpy as np
import tensorflow as tf

from mmv_tf.backbones.batch_norm import BatchNorm
from mmv_tf.model.mmv import MMV


@functools.cache
def mirrored(replicas: int) -> tf.distribute.MirroredStrategy:
    """One strategy a number of replicas for the whole session.

    Two strategies in one process give their collective operations the same keys, and the runtime then holds the
    shapes of one against the other: hence one strategy a size, each with keys of its own.
    """
    keys = {"_collective_key_base": 1000 * replicas}  # TensorFlow's own means against it, made for tests
    strategy = type("MirroredStrategy", (tf.distribute.MirroredStrategy,), keys)
    return strategy([f"CPU:{i}" for i in range(replicas)])


class ToyBackbone(keras.layers.Layer):
    """Mean over all axes between the first and the last, dense, batch norm."""

    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(units, use_bias=False, name="dense")
        self.norm = BatchNorm(name="norm")

    def build(self, input_shape):  # without it Keras traces `call` to find the shapes
        self.dense.build((None, input_shape[-1]))
        self.norm.build((None, self.dense.units))

    def call(self, inputs, training=False):
        axes = list(range(1, len(inputs.shape) - 1))
        x = keras.ops.mean(inputs, axes) if axes else inputs
        return keras.ops.relu(self.norm(self.dense(x), training=training))


class ToyText(keras.layers.Layer):
    """The sum of learned word vectors: [..., W] ids -> [..., units]."""

    def __init__(self, units=6, vocabulary_size=20, **kwargs):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(
            vocabulary_size, units, embeddings_initializer="glorot_normal", name="words"
        )

    def build(self, input_shape):
        self.embedding.build(input_shape)

    def call(self, inputs, training=False):
        return keras.ops.sum(self.embedding(inputs), axis=-2)


def mmv(graph, seed=0, learning_rate=0.01, compiled=True, backbone=ToyBackbone, micro_batches=1) -> MMV:
    keras.utils.set_random_seed(seed)
    backbones = {"video": backbone(), "audio": backbone(), "text": ToyText()}
    backbones = {m: backbones[m] for m in graph.modalities}
    model = MMV(backbones=backbones, graph=graph, micro_batches=micro_batches)
    model.build_by_call(batch(2))
    if compiled:
        model.compile(optimizer=keras.optimizers.Adam(learning_rate))
        model.optimizer.build(model.trainable_variables)
    return model


def batch(size, seed=0, candidates=2, missing=True):
    """A batch dict; with `missing`, every third sample lacks text and every fourth sound."""
    rs = np.random.RandomState(seed)
    index = np.arange(size)
    text_mask = np.ones((size, candidates), bool)
    audio_mask = np.ones(size, bool)
    if missing:
        text_mask[index % 3 == 2] = False
        text_mask[index % 3 == 1, 1:] = False
        audio_mask[index % 4 == 3] = False
    return {
        "video": tf.constant(rs.uniform(size=(size, 2, 4, 4, 3)).astype(np.float32)),
        "audio": tf.constant(rs.standard_normal((size, 5, 4, 1)).astype(np.float32)),
        "text": tf.constant(rs.randint(1, 20, (size, candidates, 3)).astype(np.int32)),
        "text_mask": tf.constant(text_mask),
        "audio_mask": tf.constant(audio_mask),
    }
