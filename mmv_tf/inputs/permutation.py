"""A permutation of any number of places that is computed, not stored: where a place goes is known at once.

A Feistel network over pairs of digits, each round of which adds a hash of one digit to the other. It permutes a few
places more than are wanted; whoever lands on one of those goes on from there (cycle walking: Black and Rogaway, 2002).
It is the same in every version of TensorFlow, which `tf.random.experimental.stateless_shuffle` does not promise.
"""

import tensorflow as tf

_ROUNDS = 16  # with 12, permutations of five places are not yet equally frequent
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # of SplitMix64


_NUMBERS, _KEYS = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.uint64)


def key(*numbers) -> tf.Tensor:
    """What a permutation belongs to: uint64 of integers or int64 tensors [n]. Their order counts."""
    found = tf.constant(0, tf.uint64)
    for number in numbers:
        found = _key(found, tf.cast(number, tf.uint64))
    return found


@tf.function(autograph=False, input_signature=[tf.TensorSpec(None, tf.uint64)] * 2)
def _key(found, number):
    return _hash(found + number)


def permute(place: tf.Tensor, size: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Where the permutation of range(size) that belongs to `key` puts a place.

    Args:
      place: int64 [n], each in [0, size).
      size: int64, [n] or scalar; at least 1.
      key: [n] or scalar, from `key`.
    Returns:
      int64 [n].
    """
    shape = tf.shape(place)
    return tf.ensure_shape(_permute(place, tf.broadcast_to(size, shape), tf.broadcast_to(key, shape)), place.shape)


# A function of its own, which is traced once: it is in every dataset, and was a third of what makes one.
@tf.function(autograph=False, input_signature=[_NUMBERS, _NUMBERS, _KEYS])
def _permute(place, size, key):
    highest = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(size, tf.float64))), tf.int64)
    high, low = tf.cast(highest, tf.uint64), tf.cast((size + highest - 1) // highest, tf.uint64)
    size = tf.cast(size, tf.uint64)  # at most high * low

    def two_rounds(number, left, right):
        left = (left + _hash(key + right, number)) % high
        right = (right + _hash(key + left, number + 1)) % low
        return number + 2, left, right

    def once(value):
        # A loop of the graph: written out, the rounds take longer to trace than all else that reads records.
        start = (tf.constant(0, tf.uint64), value // low, value % low)
        _, left, right = tf.while_loop(lambda number, *_: number < _ROUNDS, two_rounds, start)
        return left * low + right

    value, _ = tf.while_loop(
        lambda value, is_on: tf.reduce_any(is_on),
        lambda value, is_on: _and_who_goes_on(tf.where(is_on, once(value), value), size),
        (tf.cast(place, tf.uint64), tf.ones_like(place, tf.bool)),
    )
    return tf.cast(value, tf.int64)


def _and_who_goes_on(value, size):
    return value, value >= size


def _hash(value, number=0):
    """SplitMix64's, of uint64."""
    value += (tf.cast(number, tf.uint64) + 1) * tf.constant(_STEP, tf.uint64)
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        shifted = tf.bitwise.right_shift(value, tf.constant(shift, tf.uint64))
        value = tf.bitwise.bitwise_xor(value, shifted) * tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, tf.constant(31, tf.uint64)))
