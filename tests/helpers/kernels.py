"""Kernels that TensorFlow has in a process of the tests: its own, and not those of oneDNN."""

import contextlib
import os


@contextlib.contextmanager
def without_onednn():
    """For whoever imports TensorFlow, or starts a process that does: it looks at the environment then, and only then.

    With oneDNN every operation of every function that is made is looked up among all kernels that there are, a tenth of
    the time of the tests. It is on in whatever these start as a user does, by a command in a process of its own.
    """
    before = os.environ["TF_ENABLE_ONEDNN_OPTS"]
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    try:
        yield
    finally:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = before
