import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.records import wire


def test_equals_what_tensorflow_reads():
    floats = np.linspace(-1, 1, 1000, dtype=np.float32)
    data = wire.sequence_example(
        {
            "ints": wire.int64_feature([0, 1, -1, 127, 128, 300, 2**62, -(2**63)]),
            "bytes": wire.bytes_feature([b"", b"\xff\x00", "é"]),
            "floats": wire.float_feature([0.5]),
        },
        {
            "wave": [wire.float_feature(floats)],
            "frames": [wire.bytes_feature([b"a" * 200]), wire.bytes_feature([b"b"])],
        },
    )
    example = tf.train.SequenceExample.FromString(data)
    context, lists = example.context.feature, example.feature_lists.feature_list
    assert list(context["ints"].int64_list.value) == [0, 1, -1, 127, 128, 300, 2**62, -(2**63)]
    assert list(context["bytes"].bytes_list.value) == [b"", b"\xff\x00", "é".encode()]
    assert list(context["floats"].float_list.value) == [0.5]
    np.testing.assert_array_equal(lists["wave"].feature[0].float_list.value, floats)
    assert [f.bytes_list.value[0] for f in lists["frames"].feature] == [b"a" * 200, b"b"]
    # The very bytes of protobuf's own deterministic writer.
    assert example.SerializeToString(deterministic=True) == data


def test_order_of_keys_does_not_matter():
    one, two = wire.int64_feature([1]), wire.int64_feature([2])
    assert wire.sequence_example({"a": one, "b": two}, {}) == wire.sequence_example({"b": two, "a": one}, {})


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
def test_an_integer_of_more_than_64_bits_is_refused(value):
    with pytest.raises(ValueError, match="an integer of more than 64 bits among "):
        wire.int64_feature([0, value])
