"""Projection heads: the layers behind `graph.Head`."""

import functools

import keras

from mmv_tf.backbones import draws
from mmv_tf.backbones.batch_norm import BatchNorm
from mmv_tf.backbones.layers import fan_in_normal
from mmv_tf.model.graph import Head


class _DenseBeforeNorm(keras.layers.Dense):
    """A dense layer whose bias is kept (released weights have one) and not trained.

    A batch norm behind it takes any bias away again, so its gradient is zero. In floating point it is noise, which
    Adam blows up to steps of the size of the learning rate; they differ from machine to machine, and the moving
    averages follow them late.
    """

    def call(self, inputs, training=None):
        return keras.ops.matmul(inputs, self.kernel) + keras.ops.stop_gradient(self.bias)


def _dense(units: int, name: str, before_norm: bool, use_bias: bool = True, **kwargs) -> keras.layers.Dense:
    layer = _DenseBeforeNorm if before_norm and use_bias else keras.layers.Dense
    return layer(units, use_bias=use_bias, kernel_initializer=fan_in_normal(), name=name, **kwargs)


@keras.saving.register_keras_serializable("mmv_tf")
class ProjectionHead(keras.layers.Layer):
    """A head of the graph: [..., D] -> [..., dim] (reference: mm_embeddings.py, `_get_pair_embedding_heads`).

    activation -> (dense -> batch norm -> ReLU) for each hidden width -> dense -> batch norm, the last one optional.
    The bias of the last dense layer is left out only where hidden layers and a batch norm stand around it, as in
    the released networks. With `Head.dropout`, some of what each dense layer takes is dropped in training.

    It computes in the precision of its weights, also under mixed_bfloat16: embeddings are compared over a temperature
    of 0.07, which makes the errors of bfloat16 numbers fourteen times as large, and heads are a small part of it all.
    """

    def __init__(self, head: Head, dim: int, **kwargs):
        super().__init__(autocast=False, **kwargs)  # its layers cast what they take
        self.head = head
        self.dim = dim
        dense = functools.partial(_dense, dtype=self.variable_dtype)
        norm = functools.partial(BatchNorm, dtype=self.variable_dtype)
        self.activation_norm = norm(name="activation_norm") if head.activation == "bnrelu" else None
        self.hidden = [dense(width, f"hidden_{i}", before_norm=True) for i, width in enumerate(head.hidden)]
        self.hidden_norms = [norm(name=f"hidden_norm_{i}") for i in range(len(head.hidden))]
        use_bias = not (head.hidden and head.batch_norm)
        self.projection = dense(dim, "projection", before_norm=head.batch_norm, use_bias=use_bias)
        self.norm = norm(name="norm") if head.batch_norm else None

    def call(self, inputs, training=False):
        x = inputs
        if self.activation_norm is not None:
            x = self.activation_norm(x, training=training)
        if self.head.activation:
            x = keras.ops.relu(x)
        drawn = draws.here(training) if self.head.dropout else None

        def kept(x, dense):
            return x if drawn is None else drawn.dropout(x, self.head.dropout, f"{self.head}/{dense.name}")

        for dense, norm in zip(self.hidden, self.hidden_norms, strict=True):
            x = keras.ops.relu(norm(dense(kept(x, dense)), training=training))
        x = self.projection(kept(x, self.projection))
        return x if self.norm is None else self.norm(x, training=training)
