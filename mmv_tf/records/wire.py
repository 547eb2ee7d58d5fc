"""Writes tf.train.SequenceExample messages without TensorFlow.

Beam workers would otherwise spend 5 to 20 seconds each on `import tensorflow`. The message is small (two maps of
named lists), so its protobuf wire form is written here directly; tests parse the result with TensorFlow's own class.
Maps are written in sorted order, so equal content gives equal bytes, which protobuf itself does not promise.
"""

import numpy as np

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # field numbers in tf.train.Feature


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, payload):
    """One length-delimited field of a message, in protobuf wire form."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def bytes_feature(values):
    """Serialised tf.train.Feature of a list of `bytes` or `str` (written as UTF-8)."""
    encoded = (value.encode("utf-8") if isinstance(value, str) else bytes(value) for value in values)
    return field(_BYTES_LIST, b"".join(field(1, value) for value in encoded))


def float_feature(values):
    """Serialised tf.train.Feature of float32 values, any shape, flattened."""
    return field(_FLOAT_LIST, field(1, np.ascontiguousarray(values, dtype="<f4").tobytes()))


def int64_feature(values):
    """Serialised tf.train.Feature of integers; negative ones take ten bytes, as protobuf demands."""
    return field(_INT64_LIST, field(1, b"".join(_varint(int(value) & (1 << 64) - 1) for value in values)))


def _map(entries):
    return b"".join(
        field(1, field(1, name.encode("utf-8")) + field(2, payload)) for name, payload in sorted(entries.items())
    )


def sequence_example(context, feature_lists):
    """Serialised tf.train.SequenceExample.

    Args:
      context: {key: serialised Feature}.
      feature_lists: {key: list of serialised Feature}.
    Returns:
      bytes, the same for the same content.
    """
    lists = {name: b"".join(field(1, feature) for feature in features) for name, features in feature_lists.items()}
    return field(1, _map(context)) + field(2, _map(lists))
