"""Learned positions: tables, read between their rows where an input has another size than they were made for."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from mmv_tf.backbones.draws import Draws
from mmv_tf.backbones.transformers.transformer import layer_norm


def read_at(table, count):
    """Row i of the result is the table [n,d] at i/count of its length, [count,d]: a cubic spline through row j at j/n.

    The reference's polyharmonic spline of order 3 with a linear term (`ExpandableEmbedding`) is in one dimension the
    natural cubic spline, straight beyond its ends, which is computed here without its badly conditioned system.

    Args:
      count: an integer, or an integer scalar.
    """
    rows = table.shape[0]
    if isinstance(count, int) and count == rows:
        return table
    wide = "float64" if table.dtype == "float64" else "float32"
    table = ops.cast(table, wide)
    if rows == 1:
        return ops.repeat(table, count, axis=0)
    bends = ops.matmul(ops.convert_to_tensor(_second_differences(rows), wide), table)  # second derivatives at the rows
    place = ops.cast(ops.arange(count), wide) * (rows / ops.cast(count, wide))
    left = ops.minimum(ops.cast(ops.floor(place), "int32"), rows - 2)
    t = (place - ops.cast(left, wide))[:, None]
    low, high = (ops.take(table, left + i, axis=0) for i in (0, 1))
    bend_low, bend_high = (ops.take(bends, left + i, axis=0) for i in (0, 1))
    curve = (1 - t) * low + t * high + (((1 - t) ** 3 - (1 - t)) * bend_low + (t**3 - t) * bend_high) / 6
    straight = high + (t - 1) * (high - low + bend_low / 6)  # beyond the last row
    return ops.where(t > 1, straight, curve)


def _second_differences(rows: int) -> np.ndarray:
    """[n,n]: second derivatives of the natural cubic spline through values at 0 ... n-1, as a linear map of these."""
    system, right = np.eye(rows), np.zeros((rows, rows))
    for i in range(1, rows - 1):
        system[i, i - 1 : i + 2] = 1, 4, 1
        right[i, i - 1 : i + 2] = 6, -12, 6
    return np.linalg.solve(system, right)


class Positions(keras.layers.Layer):
    """Tokens [b,s1,...,sk,d] with their positions added: [b,s1*...*sk,d].

    A position is the norm of the sum of a row of each axis' table; tables begin normal with sigma d^-1/2, cut at two
    sigma (`SpatioTemporalEmbeddings` and `TemporalEmbeddings` of the reference).

    Args:
      sizes: rows of the table of each axis, in order; their names are `names`.
      dropout: of the sum.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("dropout",)

    def __init__(self, sizes: Sequence[int], names: Sequence[str], dim: int, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.sizes, self.names, self.dim, self.dropout = tuple(sizes), tuple(names), dim, dropout
        self.norm = layer_norm("norm", self.dtype_policy)

    def build(self, input_shape):
        initializer = keras.initializers.TruncatedNormal(stddev=self.dim**-0.5)
        self.tables = [
            self.add_weight(name=name, shape=(size, self.dim), initializer=initializer)
            for name, size in zip(self.names, self.sizes, strict=True)
        ]
        self.norm.build((None, self.dim))

    def call(self, x, draws: Draws | None = None):
        axes = len(self.sizes)
        if len(x.shape) == axes + 1:  # images, which have no time
            extents = (None, *ops.shape(x)[1:-1])
        else:
            extents = ops.shape(x)[1:-1]
        total = 0.0
        for axis, (table, extent) in enumerate(zip(self.tables, extents, strict=True)):
            table = ops.convert_to_tensor(table)
            if extent is None:
                total += ops.mean(table, axis=0)
                continue
            shape = [1] * axes
            shape[axis] = extent
            total += ops.reshape(read_at(table, extent), (*shape, self.dim))
        total = ops.reshape(total, (1, -1, self.dim))
        x = ops.reshape(x, (ops.shape(x)[0], -1, self.dim)) + ops.cast(self.norm(total), x.dtype)
        return x if draws is None else draws.dropout(x, self.dropout, "positions")
