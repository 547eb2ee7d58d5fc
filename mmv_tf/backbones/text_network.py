"""The text network: word vectors, one dense layer, and the maximum over the words."""

import os

import keras
from keras import ops

from mmv_tf.backbones import layers
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count
from mmv_tf.records import word_vectors


def initial_vectors(path: str, owner: str):
    """An initialiser of a table of word vectors [vocabulary_size, dim].

    Args:
      path: a .npy file of them, '' for random ones.
      owner: the class whose settings say the shape.
    Raises (when it is called):
      ValueError: the file holds another shape; names it.
    """

    def initial(shape, dtype=None):
        if path:
            matrix = word_vectors.read_npy(path)
            if matrix.shape != tuple(shape):
                raise ValueError(
                    f"{path}: {matrix.shape[0]} vectors of {matrix.shape[1]} numbers, but {owner} has "
                    f"vocabulary_size = {shape[0]} and dim = {shape[1]}."
                )
            return ops.convert_to_tensor(matrix, dtype)
        values = keras.initializers.RandomNormal(stddev=shape[1] ** -0.5)(shape, dtype)  # of length 1, about
        return values * ops.cast(ops.arange(shape[0]) > 0, values.dtype)[:, None]  # row 0 is padding

    return initial


@configurable
class TextNetwork(keras.layers.Layer):
    """Word ids int32 [B,W] or [B,K,W] -> [B,units] or [B,K,units].

    As released (deepmind-research/mmv, models/mm_embeddings.py, TextModule): word vectors -> dense with bias -> ReLU
    -> maximum over the words, without a mask. Id 0 stands for padding here; its row starts at zero, so that padding
    adds no more than the ReLU of the bias to the maximum. The reference treats row 0 like any other, and so do we.

    Args:
      vocabulary_size: number of ids, padding and unknown words included.
      dim: length of a word vector.
      units: width of the dense layer, the output.
      vectors: a .npy file [vocabulary_size, dim] whose row i is the vector of id i (`word_vectors.align` makes one
        from word2vec or GloVe files). Empty: random vectors. Read when the layer is built; not needed where a
        checkpoint is restored afterwards.
      learned: whether training changes the vectors. The released networks leave those of word2vec as they are.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("vectors", "learned")  # but on the weights
    forgets_order = True  # of the words: a card says so

    def __init__(
        self,
        vocabulary_size: Count = 65536,
        dim: Count = 300,
        units: Count = 2048,
        vectors: str = "",
        learned: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.dim = dim
        self.vectors = vectors
        self.learned = learned
        self.output_dim = units
        initializer = layers.fan_in_normal()
        self.dense = keras.layers.Dense(units, kernel_initializer=initializer, name="dense", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.vocabulary_size, self.dim),
            initializer=initial_vectors(os.path.expanduser(self.vectors), "TextNetwork"),
            trainable=self.learned,
            autocast=False,  # the rows that are looked up are cast, not the whole matrix
        )
        self.dense.build((None, self.dim))

    def call(self, words, training=False):
        return self.endpoints(words, training=training)["embedding"]

    def endpoints(self, words, training=False):
        """{'words': [..., W, units], 'embedding': [..., units]}."""
        if len(words.shape) not in (2, 3):
            raise ValueError(f"TextNetwork takes word ids [B,W] or [B,K,W], not {tuple(words.shape)}.")
        if not self.built:
            self.build(words.shape)
        vectors = ops.cast(ops.take(self.embeddings, words, axis=0), self.compute_dtype)
        if not self.learned:
            vectors = ops.stop_gradient(vectors)
        words = ops.relu(self.dense(vectors))
        return {"words": words, "embedding": ops.max(words, axis=-2)}

    def says_something(self, words):
        """[...] bool of ids [..., W]: whether some word has a vector. What has none, as padding, is zeros."""
        return ops.any(ops.not_equal(ops.take(self.embeddings, words, axis=0), 0), axis=(-2, -1))
