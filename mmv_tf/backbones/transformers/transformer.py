"""The transformer of VATT: blocks with the norm in front, over tokens of whatever kind."""

import math
from typing import Literal, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from mmv_tf.backbones import layers
from mmv_tf.backbones.draws import Draws

EPSILON = 1e-6  # of every norm


class Extents(NamedTuple):
    """How large a transformer is: blocks, numbers of a token, of the hidden layer of a block, heads."""

    layers: int
    dim: int
    hidden: int
    heads: int


# VATT's (arXiv 2104.11178, table 4) but for the first, which is ours, for a CPU.
SIZES = {
    "tiny": Extents(2, 64, 256, 4),
    "small": Extents(6, 512, 2048, 8),
    "base": Extents(12, 768, 3072, 12),
    "medium": Extents(12, 1024, 4096, 16),
    "large": Extents(24, 1024, 4096, 16),
}
Size = Literal["tiny", "small", "base", "medium", "large"]


def extents(owner: str, size: str, **others: int | None) -> Extents:
    """The extents of `size` with those of `others` that are not None.

    Raises:
      ValueError: heads do not divide the numbers of a token; names the settings of `owner`.
    """
    found = SIZES[size]._replace(**{name: value for name, value in others.items() if value is not None})
    if found.dim % found.heads:
        raise ValueError(f"{owner}.dim = {found.dim} cannot be shared by {owner}.heads = {found.heads}.")
    return found


def dense(units: int, name: str, biases: bool = True, gelu: bool = False, dtype=None) -> keras.layers.Dense:
    """A dense layer of the reference: Glorot uniform, biases from 0, the exact GELU."""
    return keras.layers.Dense(units, exact_gelu if gelu else None, use_bias=biases, name=name, dtype=dtype)


def exact_gelu(x):
    """x * Phi(x), by the error function."""
    return ops.gelu(x, approximate=False)


def layer_norm(name: str, dtype=None) -> keras.layers.LayerNormalization:
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name, dtype=dtype)


def rms_norm(name: str, dtype=None) -> keras.layers.RMSNormalization:
    """T5's: x / root mean square * scale."""
    return keras.layers.RMSNormalization(epsilon=EPSILON, name=name, dtype=dtype)


class Attention(keras.layers.Layer):
    """Multi-head attention of tokens [b,n,d] to each other.

    Where no dropout is on the weights it is `keras.ops.dot_product_attention`, so that Keras can put a faster kernel in
    its place where a backend has one. That has no dropout, so training with some computes the weights here.

    Args:
      t5: no biases, and scores are not divided by sqrt(d / heads), as in T5.
      dropout: of the weights.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("dropout",)

    def __init__(self, dim: int, heads: int, t5: bool = False, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.heads, self.dropout = dim, heads, dropout
        self.scale = 1.0 if t5 else math.sqrt(heads / dim)
        options = {"biases": not t5, "dtype": self.dtype_policy}
        self.query, self.key, self.value, self.output_dense = (
            dense(dim, name, **options) for name in ("query", "key", "value", "output")
        )

    def build(self, input_shape):
        for part in (self.query, self.key, self.value, self.output_dense):
            part.build(input_shape)

    def call(self, x, attend=None, bias=None, draws: Draws | None = None):
        """attend: [b,n] bool, the tokens that are looked at; bias: [1,heads,n,n], added to the scores."""
        query, key, value = (self._parted(part(x)) for part in (self.query, self.key, self.value))
        mask = None if attend is None else attend[:, None, None, :]
        if draws is None or not self.dropout:
            x = ops.dot_product_attention(query, key, value, bias=bias, mask=mask, scale=self.scale)
        else:
            x = self._with_dropout(query, key, value, bias, mask, draws)
        return self.output_dense(ops.reshape(x, (-1, ops.shape(x)[1], self.dim)))

    def _parted(self, x):
        """[b,n,d] -> [b,n,heads,d/heads]."""
        return ops.reshape(x, (-1, ops.shape(x)[1], self.heads, self.dim // self.heads))

    def _with_dropout(self, query, key, value, bias, mask, draws):
        # An operation that TensorFlow's profiler does not count, as it is in the reference (`model.cost`).
        scores = tf.einsum("bqhd,bkhd->bhqk", query * ops.cast(self.scale, query.dtype), key)
        wide = scores.dtype if scores.dtype == "float64" else "float32"
        scores = ops.cast(scores, wide)
        if bias is not None:
            scores += ops.cast(bias, wide)
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        weights = draws.dropout(
            ops.cast(ops.softmax(scores), value.dtype), self.dropout, f"{self.path_of_draws}/weights"
        )
        return ops.transpose(ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3))), (0, 2, 1, 3))

    path_of_draws = "attention"  # set by the block: names of Keras depend on what else was made


class Block(keras.layers.Layer):
    """x + attention(norm(x)), then x + dense(GELU(dense(norm(x)))): tokens [b,n,d] -> [b,n,d].

    Args:
      extents: of the transformer.
      t5: T5's attention, with its norm in front, and no biases but that of the norm in front of the dense layers.
      dropout: of the attention's weights, of the hidden layer, and of what either half adds.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("dropout",)

    def __init__(self, extents: Extents, t5: bool = False, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.dropout, policy = dropout, self.dtype_policy
        self.attention_norm = (rms_norm if t5 else layer_norm)("attention_norm", policy)
        self.attention = Attention(extents.dim, extents.heads, t5, dropout, name="attention", dtype=policy)
        self.attention.path_of_draws = f"{self.name}/attention"
        self.norm = layer_norm("norm", policy)
        self.hidden = dense(extents.hidden, "hidden", not t5, gelu=True, dtype=policy)
        self.output_dense = dense(extents.dim, "output", not t5, dtype=policy)

    def build(self, input_shape):
        for part in (self.attention_norm, self.attention, self.norm, self.hidden):
            part.build(input_shape)
        self.output_dense.build((*input_shape[:-1], self.hidden.units))

    def call(self, x, attend=None, bias=None, draws: Draws | None = None, training=False):
        y = self.attention(self.attention_norm(x), attend=attend, bias=bias, draws=draws)
        x += self._dropped(y, "branch", draws)
        y = self._dropped(self.hidden(self.norm(x)), "hidden", draws)
        return x + self._dropped(self.output_dense(y), "output", draws)

    def _dropped(self, x, name, draws):
        return x if draws is None else draws.dropout(x, self.dropout, f"{self.name}/{name}")


class Transformer(keras.layers.Layer):
    """Blocks and a last norm: tokens [b,n,d] -> [b,n,d] (vatt, modeling/common/transformers.py).

    Args:
      extents: of it.
      t5: see `Block`; the last norm is T5's, too.
      dropout: see `Block`; also behind the last norm.
      rematerialise: keep the inputs of blocks alone for the backward pass, and compute the rest again.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("dropout", "rematerialise")

    def __init__(self, extents: Extents, t5: bool = False, dropout: float = 0.0, rematerialise: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.extents, self.dropout, self.rematerialise = extents, dropout, rematerialise
        options = {"t5": t5, "dropout": dropout, "dtype": self.dtype_policy}
        self.blocks = [Block(extents, name=f"layer_{i}", **options) for i in range(extents.layers)]
        self.final_norm = (rms_norm if t5 else layer_norm)("final_norm", self.dtype_policy)

    def build(self, input_shape):
        for part in (*self.blocks, self.final_norm):
            part.build((None, None, self.extents.dim))

    def call(self, x, attend=None, bias=None, draws: Draws | None = None):
        """attend [b,n] bool, bias [1,heads,n,n]: as in `Attention`; draws: in training, what dropout is drawn from."""
        for block in self.blocks:
            if bias is None:
                training = draws is not None
                x = layers.run(block, x, self.rematerialise, training=training, attend=attend, draws=draws)
            else:  # whose gradient would be lost
                x = block(x, attend=attend, bias=bias, draws=draws)
        x = self.final_norm(x)
        return x if draws is None else draws.dropout(x, self.dropout, "final_norm")
