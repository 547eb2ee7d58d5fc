"""Imports of packages that talk while they are imported."""

import warnings


def tensorflow_io():
    """The module tensorflow_io.

    Its native library does not load with TensorFlow 2.20, and it says so in warnings. Only its functions that are
    written in TensorFlow are used here, and those need no library.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_io
    return tensorflow_io
