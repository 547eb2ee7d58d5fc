"""The image and the audio network of an export as ONNX files: `python -m mmv_tf.export.lite --onnx`.

Needs `pip install tf2onnx onnxruntime`, which the rest of the package does not. Of the converters for TensorFlow,
tf2onnx is the one with releases (1.17.0 in March 2026; keras2onnx stopped in 2020 and sends its users there). With
TensorFlow 2.20, Keras 3.15 and numpy 2.4 it converts the image network (and the video network) as they are; of the
audio network it lacks one operation, log(1 + x), which is added here. The Fourier transform becomes a matrix product:
the file of the audio network is some 17 MB larger for it.
"""

OPSET = 17


def convert(signature, name: str, shape) -> bytes:
    """An ONNX file of one signature, its input and outputs by their names in the signature.

    Raises:
      ModuleNotFoundError: tf2onnx is not installed; says what to do.
    """
    import tensorflow as tf

    from mmv_tf.export.frozen import frozen

    try:
        import tf2onnx
    except ImportError as error:
        raise ModuleNotFoundError("ONNX needs a converter: `pip install tf2onnx onnxruntime`.") from error
    # tf2onnx looks up tf.Log1p among its own handlers only, and leaves what it does not know in the file, unusable.
    proto, _ = tf2onnx.convert.from_function(
        frozen(signature, name, shape),
        input_signature=[tf.TensorSpec(shape, tf.float32, name)],
        opset=OPSET,
        custom_op_handlers={"Log1p": (_log1p, [])},
    )
    return proto.SerializeToString()


def _log1p(graph, node, name, arguments):
    """log(1 + x) as the two operations of ONNX."""
    import numpy as np
    from tf2onnx import utils

    one = graph.make_const(utils.make_name("one"), np.array(1, np.float32)).output[0]
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    added = graph.make_node("Add", [node.input[0], one], shapes=shapes, dtypes=dtypes).output[0]
    graph.make_node("Log", [added], name=node.name, outputs=node.output, shapes=shapes, dtypes=dtypes)


class Runner:
    """An ONNX file as a function: float32 array -> {key: array}."""

    def __init__(self, content: bytes, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        (self._input,) = (node.name for node in self._session.get_inputs())
        self._keys = [node.name for node in self._session.get_outputs()]

    def __call__(self, inputs):
        return dict(zip(self._keys, self._session.run(None, {self._input: inputs}), strict=True))
