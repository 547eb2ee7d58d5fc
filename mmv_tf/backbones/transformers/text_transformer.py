"""The text transformer of VATT: an encoder in the manner of T5 over word vectors."""

import os

import keras
import numpy as np
from keras import ops

from mmv_tf.backbones import draws, text_network
from mmv_tf.backbones.transformers.positions import Positions
from mmv_tf.backbones.transformers.tokens import Aggregate
from mmv_tf.backbones.transformers.transformer import Size, Transformer, dense, extents
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, ShareBelowOne

_BUCKETS, _FARTHEST = 32, 64  # of the relative positions, both directions together


@configurable
class WordVectors(keras.layers.Layer):
    """Word ids int32 [...] -> vectors [..., dim]: the table of a text transformer.

    Args:
      vocabulary_size, dim, vectors, learned: as in `TextNetwork`.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = text_network.TextNetwork.OUTPUTS_DO_NOT_DEPEND_ON

    def __init__(
        self, vocabulary_size: Count = 65536, dim: Count = 300, vectors: str = "", learned: bool = False, **kwargs
    ):
        super().__init__(**{"name": "words", **kwargs})  # checkpoints go by it
        self.vocabulary_size, self.dim, self.vectors, self.learned = vocabulary_size, dim, vectors, learned

    def get_config(self):
        names = ("vocabulary_size", "dim", "vectors", "learned")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.vocabulary_size, self.dim),
            initializer=text_network.initial_vectors(os.path.expanduser(self.vectors), "WordVectors"),
            trainable=self.learned,
            autocast=False,
        )

    def call(self, words):
        vectors = ops.cast(ops.take(self.embeddings, words, axis=0), self.compute_dtype)
        return vectors if self.learned else ops.stop_gradient(vectors)

    def says_something(self, words):
        """See `TextNetwork.says_something`."""
        return ops.any(ops.not_equal(ops.take(self.embeddings, words, axis=0), 0), axis=(-2, -1))


class WordTokens(keras.layers.Layer):
    """Word ids [b,W] to tokens in the modality-agnostic way: vectors, a dense layer with GELU, positions, AGG in front.

    Args:
      words: WordVectors; made with its gin settings if None.
      positions: words for which there is a learned position.
    """

    def __init__(self, words: WordVectors | None = None, positions: Count = 16, **kwargs):
        super().__init__(**{"name": "tokens", **kwargs})
        self.words, self.positions = words or WordVectors(dtype=self.dtype_policy), positions

    def get_config(self):
        return {**super().get_config(), "words": self.words.get_config(), "positions": self.positions}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "words": WordVectors.from_config(config["words"])})

    def make(self, dim: int, project: bool = True, dropout: float = 0.0) -> None:
        policy = self.dtype_policy
        self.projection = dense(dim, "projection", gelu=True, dtype=policy)
        self.places = Positions((self.positions,), ("time",), dim, dropout, name="positions", dtype=policy)
        self.aggregate = Aggregate(name="aggregate", dtype=policy)
        self.dim = dim

    def build(self, input_shape):
        self.words.build(None)
        self.projection.build((None, self.words.dim))
        self.places.build(None)
        self.aggregate.build((None, None, self.dim))

    def call(self, words, draws=None):
        vectors = self.words(words)
        x = self.aggregate(self.places(self.projection(vectors), draws=draws))
        return {"patches": vectors, "tokens": x, "attend": attended(words)}


def attended(words):
    """[b,1+W] bool: AGG and the words that are not padding."""
    return ops.pad(words > 0, [[0, 0], [1, 0]], constant_values=True)


def bucket(distance: np.ndarray) -> np.ndarray:
    """The number of the learned bias for a key that stands `distance` behind its query (negative: before it).

    Half of them are for what stands behind; of each half a half is for one distance each, and the others are for ever
    longer spans up to the farthest, as in T5 (arXiv 1910.10683).
    """
    half = _BUCKETS // 2
    exact, far = half // 2, np.abs(distance)
    with np.errstate(divide="ignore"):
        spans = np.log(np.float32(far) / np.float32(exact)) / np.log(_FARTHEST / exact) * (half - exact)
    spans = exact + np.where(far < exact, 0, spans).astype(np.int32)
    return (distance > 0) * half + np.where(far < exact, far, np.minimum(spans, half - 1))


@configurable
class TextTransformer(keras.layers.Layer):
    """Word ids int32 [B,W] or [B,K,W] -> [B,dim] or [B,K,dim], the AGG token behind the last norm.

    A T5 encoder (vatt, modeling/backbones/text/t5.py and factory.py): word vectors with AGG in front, a dense layer
    with GELU and no bias, blocks whose attention has no scale, no biases, and a learned bias of the distance of two
    words, which all blocks share; AGG counts as a word here. Padding (id 0) is not looked at. 19.04 million weights
    beside the table, with 'small'.

    Args:
      size, layers, dim, hidden, heads, dropout: see `VideoTransformer`.
      words: a WordVectors; made with its gin settings if None.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("dropout",)
    forgets_order = False

    def __init__(
        self,
        size: Size = "small",
        layers: Count | None = None,
        dim: Count | None = None,
        hidden: Count | None = None,
        heads: Count | None = None,
        words: WordVectors | None = None,
        dropout: ShareBelowOne = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.size, self.dropout, policy = size, dropout, self.dtype_policy
        self.sizes = {"layers": layers, "dim": dim, "hidden": hidden, "heads": heads}
        found = extents("TextTransformer", size, **self.sizes)
        self.words = words or WordVectors(dtype=policy)
        self.aggregate = Aggregate(name="aggregate", dtype=policy)
        self.projection = dense(found.dim, "projection", biases=False, gelu=True, dtype=policy)
        self.transformer = Transformer(found, t5=True, dropout=dropout, name="transformer", dtype=policy)
        self.output_dim, self.heads = found.dim, found.heads

    def get_config(self):
        settings = {"size": self.size, **self.sizes, "words": self.words.get_config(), "dropout": self.dropout}
        return {**super().get_config(), **settings}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "words": WordVectors.from_config(config["words"])})

    @property
    def vocabulary_size(self) -> int:
        return self.words.vocabulary_size

    @property
    def vectors(self) -> str:
        return self.words.vectors

    def build(self, input_shape):
        self.words.build(None)
        self.aggregate.build((None, None, self.words.dim))
        self.projection.build((None, None, self.words.dim))
        self.distance = self.add_weight(name="distance", shape=(_BUCKETS, self.heads), initializer="uniform")
        self.transformer.build(None)

    def call(self, words, training=False):
        return self.endpoints(words, training=training)["embedding"]

    def endpoints(self, words, training=False):
        """{'words': [..., W, dim] behind the last norm, 'embedding': [..., dim]}."""
        if len(words.shape) not in (2, 3):
            raise ValueError(f"TextTransformer takes word ids [B,W] or [B,K,W], not {tuple(words.shape)}.")
        if not self.built:
            self.build(words.shape)
        leading, count = ops.shape(words)[:-1], words.shape[-1]
        words = ops.reshape(words, (-1, count))
        drawn = draws.here(training)
        x = self.projection(self.aggregate(self.words(words)))
        if drawn is not None:
            x = drawn.dropout(x, self.dropout, "embeddings")
        place = np.arange(count + 1)
        bias = ops.take(ops.convert_to_tensor(self.distance), bucket(place[None] - place[:, None]), axis=0)
        x = self.transformer(x, attend=attended(words), bias=ops.transpose(bias, (2, 0, 1))[None], draws=drawn)
        return {
            "words": ops.reshape(x[:, 1:], (*leading, count, self.output_dim)),
            "embedding": ops.reshape(x[:, 0], (*leading, self.output_dim)),
        }

    def says_something(self, words):
        """See `TextNetwork.says_something`."""
        return self.words.says_something(words)
