import pytest
import tensorflow as tf

from mmv_tf.inputs.faults import BadRecords, Place, explain_data_error, reason


def test_explains_only_its_own_errors():
    assert explain_data_error(ValueError("something else")) is None


def test_a_reason_is_one_short_line():
    with pytest.raises(tf.errors.OpError) as caught:
        tf.io.decode_jpeg(b"\xff\xd8\xff\xe0 no picture")
    assert reason(caught.value) == "jpeg::Uncompress failed. Invalid JPEG data or crop window"
    error = tf.errors.InvalidArgumentError(None, None, "{{node a}} value: '\x07 \x01" + "x" * 1000 + "\nsecond line")
    assert reason(error).startswith("value: '? ?xxx") and len(reason(error)) == 200


def test_bad_records_count_once_and_up_to_the_limit(capsys):
    bad = BadRecords(2)
    for number in (4, 4, 5, 4):
        bad.add(Place("a/train-0", number, 9), "mine", f"key{number}", "torn")
    assert [(one["record"], one["key"]) for one in bad.as_list()] == [(4, "key4"), (5, "key5")]
    assert capsys.readouterr().err.count("left out shard a/train-0: record ") == 2
    with pytest.raises(ValueError) as caught:
        bad.add(Place("a/train-1", 0, 9), "mine", "", "torn")
    assert explain_data_error(caught.value) == (
        "shard a/train-1: record 0 of 9 (source 'mine') cannot be used: torn; it makes 3 bad records, "
        "and InputPipeline.max_bad_records = 2"
    )
