import threading
import time

import pytest
import tensorflow as tf

from mmv_tf.inputs import faults
from mmv_tf.inputs.faults import BadRecords, Place, explain_data_error, reason


def test_explains_only_its_own_errors():
    assert explain_data_error(ValueError("something else")) is None


def test_what_is_wrong_with_a_record_is_an_error_in_one_line_and_all_else_is_as_it_was():
    def dataset(message):
        def check(number):
            with tf.control_dependencies([tf.debugging.Assert(number < 2, [message])]):
                return tf.identity(number)

        return tf.data.Dataset.range(3).map(check)

    taken = []
    with pytest.raises(ValueError, match=r"^shard a/train-0: record 2 of 9 is torn$") as caught:
        taken.extend(faults.named_errors(dataset(f"{faults.FAULT_MARK}shard a/train-0: record 2 of 9 is torn")))
    assert isinstance(caught.value.__cause__, tf.errors.OpError)
    with pytest.raises(tf.errors.InvalidArgumentError, match="something else"):
        taken.extend(map(int, faults.named_errors(dataset("something else"))))
    assert taken == [0, 1, 0, 1]


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


def test_a_process_does_not_end_under_a_note(monkeypatch):
    """Python would never let the thread go on that makes it, and the process waits for its threads."""
    at_end, ended, begun = [], [], threading.Event()
    monkeypatch.setattr(faults.atexit, "register", at_end.append)
    bad = BadRecords(9)
    bad.wait(idle=600, most=600)  # nothing was noted: at once

    def note():
        with bad.noting():
            begun.set()
            time.sleep(0.3)
            ended.append(time.monotonic())

    thread = threading.Thread(target=note)
    thread.start()
    begun.wait()
    bad.wait(idle=0.2, most=600)
    assert ended and time.monotonic() - ended[0] > 0.2  # the note, and some time after it
    thread.join()
    with bad.noting():
        bad.wait(most=0.1)  # not for ever
    assert at_end == [bad.wait]  # once
