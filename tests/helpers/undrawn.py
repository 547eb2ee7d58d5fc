"""Networks whose weights are given to them, so that nobody need draw any: for those of full size that takes seconds."""

import contextlib

import keras
import pytest
import tensorflow as tf


@contextlib.contextmanager
def undrawn():
    """Networks that are built while this lasts have zeros where random weights would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            keras.initializers.VarianceScaling, "__call__", lambda self, shape, dtype=None: tf.zeros(shape, dtype)
        )
        yield
