"""What a network costs: multiply-adds, counted in its graph."""

import math

import tensorflow as tf


def multiply_adds(function, *inputs: tf.TensorSpec) -> int:
    """Multiply-adds of the convolutions and matrix products of `function(*inputs)`; all shapes must be known.

    Batch norm, gates, ReLU and pooling are not counted, as is usual. One multiply-add is two operations.

    Raises:
      ValueError: a shape in the graph is unknown.
    """
    graph = tf.function(function).get_concrete_function(*inputs).graph
    return sum(_of_op(op) for op in graph.get_operations())


def _of_op(op) -> int:
    if op.type in ("Conv2D", "Conv3D"):
        *window, channels, _ = _shape(op.inputs[1])
        return math.prod(_shape(op.outputs[0])) * math.prod(window) * channels
    if op.type in ("MatMul", "BatchMatMulV2"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return math.prod(_shape(op.outputs[0])) * _shape(op.inputs[0])[-2 if transposed else -1]
    return 0


def _shape(tensor) -> list[int]:
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name} has the shape {tensor.shape}; give inputs of fixed sizes.")
    return tensor.shape.as_list()
