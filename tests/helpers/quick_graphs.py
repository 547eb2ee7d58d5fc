"""Graphs that are made in little time, since most of those of the tests are run a few times only."""

import tensorflow as tf

from helpers import eager


def set_up() -> None:
    """To be called before the first operation of a process."""
    eager.at_once()
    # Grappler makes graphs faster that run many times, and takes a fifth of the time of those that run a few. It is on
    # in all that the tests start as a user does, in processes of their own.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    # A pass for TPUs makes nothing of graphs for CPUs; to find that out takes a sixth of the time in which a graph is
    # made ready to run.
    tf.config.experimental.disable_mlir_bridge()
