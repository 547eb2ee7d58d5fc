"""Imports of packages that do more than they should while they are imported."""

import warnings

import gin


def tensorflow_io():
    """The module tensorflow_io.

    Its native library does not load with TensorFlow 2.20, and it says so in warnings. Only its functions that are
    written in TensorFlow are used here, and those need no library.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_io
    return tensorflow_io


def preprocess_ops_3d():
    """The module official.vision.ops.preprocess_ops_3d (tf-models-official), whose functions are pure TensorFlow.

    Importing it makes gin configurables of its own, which gin refuses once a configuration is final.
    """
    with gin.unlock_config():
        from official.vision.ops import preprocess_ops_3d
    return preprocess_ops_3d
