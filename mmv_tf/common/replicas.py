"""Several replicas of a tf.distribute strategy that compute one batch together."""

import tensorflow as tf


def context() -> tf.distribute.ReplicaContext | None:
    """The replica that this code runs on; None where there is only one, or none (a model that is built in a scope)."""
    replica = tf.distribute.get_replica_context()
    return None if replica is None or replica.num_replicas_in_sync == 1 else replica


def count() -> int:
    """How many replicas share a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def total(tensors):
    """The sum of a tensor, or of each of a list, over the replicas, in one reduction with an exact gradient."""
    replica = context()
    return tensors if replica is None else replica.all_reduce(tf.distribute.ReduceOp.SUM, tensors)
