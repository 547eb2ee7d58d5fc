"""Tokens, which stand between an input and a transformer: patches, positions, DropToken, and the AGG token in front."""

from collections.abc import Sequence

import keras
from keras import ops

from mmv_tf.backbones.draws import Draws
from mmv_tf.backbones.transformers.positions import Positions
from mmv_tf.backbones.transformers.transformer import dense


def kept(count, drop: float):
    """How many of `count` tokens DropToken leaves: the reference's int((1 - drop) * count)."""
    share = 1.0 - drop + 1e-9  # 1 - .9 is a little less than .1
    return (
        int(share * count)
        if isinstance(count, int)
        else ops.cast(ops.floor(share * ops.cast(count, "float32")), "int32")
    )


def drop_tokens(x, drop: float, each: bool, draws: Draws | None):
    """DropToken: [b,n,d] -> [b,m,d], m = int((1 - drop) * n) of the tokens, in an order that is drawn, in training.

    Args:
      drop: share of the tokens that are left out.
      each: each sample has tokens of its own; otherwise all of the global batch have the same, as in the reference.
    """
    if draws is None or not drop:
        return x
    samples, count = ops.shape(x)[:2]
    if each:
        order = draws.permutations(samples, count, "drop_token")[:, : kept(count, drop)]
        return ops.take_along_axis(x, order[:, :, None], axis=1)
    return ops.take(x, draws.permutation(count, "drop_token")[: kept(count, drop)], axis=1)


class Aggregate(keras.layers.Layer):
    """Puts a learned token, AGG, in front: [b,n,d] -> [b,1+n,d]. It has no position."""

    def build(self, input_shape):
        self.token = self.add_weight(name="token", shape=(input_shape[-1],), initializer="glorot_normal")

    def call(self, x):
        token = ops.cast(ops.convert_to_tensor(self.token), x.dtype)
        return ops.concatenate([ops.broadcast_to(token, (ops.shape(x)[0], 1, x.shape[-1])), x], axis=1)


class Patches(keras.layers.Layer):
    """Cuts an input into patches and makes a token of each; a base for `VideoTokens` and `WaveformTokens`.

    Args of its `make`, which the network calls before the first input comes:
      dim: numbers of a token.
      project: whether a dense layer with GELU follows the patches (modality-agnostic VATT).
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("drop_token", "drop_each")
    axes: Sequence[str] = ()  # names of the tables
    patch: Sequence[int] = ()
    positions: Sequence[int] = ()
    channels = 1

    def make(self, dim: int, project: bool = False, dropout: float = 0.0) -> None:
        if hasattr(self, "dim"):
            raise ValueError(f"These {type(self).__name__} are another network's: make some for each network.")
        policy = self.dtype_policy
        self.dim = dim
        self.projection = dense(dim, "projection", gelu=True, dtype=policy) if project else None
        self.places = Positions(self.positions, self.axes, dim, dropout, name="positions", dtype=policy)
        self.aggregate = Aggregate(name="aggregate", dtype=policy)

    def build(self, input_shape):
        extents = self.patch[-(len(input_shape) - 2) :]  # an image has no time
        self.kernel = self.add_weight(
            name="kernel", shape=(*extents, self.channels, self.dim), initializer="glorot_uniform"
        )
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer="zeros")
        if self.projection is not None:
            self.projection.build((None, self.dim))
        self.places.build(None)
        self.aggregate.build((None, None, self.dim))

    def call(self, x, draws: Draws | None = None):
        """The input with its channels -> {'patches': [b,s1,...,dim], 'tokens': [b,1+n,dim]}."""
        x = patches = self._patches(ops.cast(x, self.compute_dtype))
        if self.projection is not None:
            x = self.projection(x)
        x = drop_tokens(self.places(x, draws=draws), self.drop_token, self.drop_each, draws)
        return {"patches": patches, "tokens": self.aggregate(x)}

    def _patches(self, x):
        """The convolution whose stride is its extent, as one matrix product; what is left over at the end is cut."""
        kernel = ops.cast(ops.convert_to_tensor(self.kernel), x.dtype)
        extents = kernel.shape[:-2]
        for axis, extent in enumerate(extents, 1):
            x = self.at_least(x, axis, extent)
        counts = [n // extent for n, extent in zip(ops.shape(x)[1:-1], extents, strict=True)]
        whole = [slice(0, n * extent) for n, extent in zip(counts, extents, strict=True)]
        x = x[(slice(None), *whole)]
        parted = [n for pair in zip(counts, extents, strict=True) for n in pair]
        x = ops.reshape(x, (ops.shape(x)[0], *parted, self.channels))
        k = len(extents)
        x = ops.transpose(x, (0, *range(1, 2 * k, 2), *range(2, 2 * k + 1, 2), 2 * k + 1))
        size = self.channels
        for extent in extents:
            size *= extent
        x = ops.matmul(ops.reshape(x, (-1, size)), ops.reshape(kernel, (size, self.dim)))
        return ops.reshape(x + ops.cast(self.bias, x.dtype), (-1, *counts, self.dim))

    def at_least(self, x, axis: int, extent: int):
        """`x` with `extent` places on an axis, if it has fewer; here with zeros behind it."""
        size = ops.shape(x)[axis]
        if isinstance(size, int) and size >= extent:
            return x
        pads = [[0, 0] for _ in x.shape]
        pads[axis][1] = ops.maximum(extent - size, 0)
        return ops.pad(x, pads)
