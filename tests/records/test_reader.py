"""Records read without TensorFlow are what TensorFlow's parser makes of them."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import FULL, foreign
from mmv_tf.records import reader, schema, wire


def same(data):
    ours, theirs = reader.parse(data), {k: v.numpy() for k, v in schema.parse(data).items()}
    assert ours.key == theirs["key"]
    assert ours.jpegs == theirs["video"].tolist()
    np.testing.assert_array_equal(np.zeros(0) if ours.waveform is None else ours.waveform, theirs["audio"])
    assert (ours.frame_rate, ours.sample_rate) == (theirs["frame_rate"], theirs["sample_rate"])
    assert ours.captions == theirs["text"].tolist()
    np.testing.assert_allclose(np.array(ours.caption_starts) / 1e6, theirs["text_start"], rtol=1e-6)
    np.testing.assert_allclose(np.array(ours.caption_ends) / 1e6, theirs["text_end"], rtol=1e-6)
    assert ours.labels == theirs["label"].tolist() and ours.label_names == theirs["label_name"].tolist()
    assert ((ours.start or 0) / 1e6, (ours.end or 0) / 1e6) == (theirs["start"], theirs["end"])


def test_equals_tensorflows_parser():
    same(schema.encode(FULL))
    same(schema.encode(schema.Record("k", "x.mp4", 0.0, 1.0)))
    same(schema.encode(dataclasses.replace(FULL, labels=((-1, "a"), (2**40, "b")))))
    stored = reader.parse(schema.encode(FULL))
    assert (stored.version, stored.path, stored.height, stored.width) == (schema.SCHEMA_VERSION, b"a/b.mp4", 256, 340)
    assert stored.picture_times == [1_500_000, 1_580_000]


def test_reads_records_of_other_tools():
    lists = {"image/encoded": [[b"j0"], [b"j1"]], "WAVEFORM/feature/floats": [[0.25, -0.5]]}
    same(foreign({"clip/label/index": [7], "clip/label/text": [b"run"], "clip/media_id": [b"id7"]}, lists))
    same(foreign({"label/index": [1], "label/text": [b"a"]}, {"waveform/floats": [[0.5]]}))
    same(foreign({"clip/label/string": [b"b"]}, {"WAVEFORM/feature/floats": [[0.5], [0.25]]}))


NO_TYPE = b""  # a feature that says not even of what it is empty
FEATURES = [
    NO_TYPE,
    *(wire.bytes_feature(["1"] * number) for number in range(3)),
    *(wire.int64_feature([1] * number) for number in range(3)),
    *(wire.float_feature([1.0] * number) for number in range(3)),
]


@pytest.mark.parametrize(
    ("keys", "readable"),
    [
        (["schema/version", "clip/start/timestamp", "clip/end/timestamp"], [5]),
        (["example/id", "clip/media_id"], [2]),
        (["image/frame_rate", "WAVEFORM/feature/sample_rate"], [8]),
        (["caption/start/timestamp", "caption/end/timestamp", "clip/label/index", "label/index"], [0, 4, 5, 6]),
        (["caption/string", "clip/label/text", "clip/label/string", "label/text"], [0, 1, 2, 3]),
        (["clip/data_path", "video/filename", "image/height", "image/width"], range(10)),  # training reads none of them
    ],
)
def test_refuses_the_values_that_tensorflows_parser_refuses(keys, readable):
    for key in keys:
        for number, feature in enumerate(FEATURES):
            both_read(wire.sequence_example({key: feature}, {}), number in readable, f"{key}.* (type|value)")


@pytest.mark.parametrize(
    ("key", "readable"),
    [
        ("image/encoded", [2]),
        ("image/timestamp", range(10)),
        ("WAVEFORM/feature/floats", [0, 7, 8, 9]),
        ("waveform/floats", [0, 7, 8, 9]),
    ],
)
def test_refuses_the_features_of_a_list_that_tensorflows_parser_refuses(key, readable):
    good = wire.bytes_feature(["j"]) if key == "image/encoded" else wire.float_feature([0.5])
    for number, feature in enumerate(FEATURES):
        for features in ([feature], [good, feature]):
            both_read(wire.sequence_example({}, {key: features}), number in readable, f"{key} holds")
    both_read(wire.sequence_example({}, {key: []}), True, "")


def both_read(data, readable, said):
    if readable:
        same(data)
        return
    with pytest.raises(tf.errors.InvalidArgumentError):
        schema.parse(data)
    with pytest.raises(ValueError, match=said):
        reader.parse(data)


def test_takes_the_other_key_where_the_first_is_empty():
    half, empty = wire.float_feature([0.5]), wire.float_feature([])
    for first, second in (([empty], [half]), ([half], [empty]), ([], [half]), ([empty], [empty])):
        data = wire.sequence_example({}, {"WAVEFORM/feature/floats": first, "waveform/floats": second})
        same(data)
        assert reader.parse(data).waveform.tolist() == ([0.5] if half in first + second else [])
    named = {"example/id": wire.bytes_feature([""]), "clip/media_id": wire.bytes_feature(["m"])}
    same(wire.sequence_example(named, {}))
    assert reader.parse(wire.sequence_example(named, {})).key == b"m"


def test_hostile_bytes_are_a_value_error():
    data, rng = schema.encode(FULL), np.random.default_rng(0)
    outcomes = set()
    for number in range(2000):
        damaged = bytearray(data[: rng.integers(1, len(data))] if number % 2 else data)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = rng.integers(256)
        try:
            reader.parse(bytes(damaged))
            outcomes.add("read")
        except ValueError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
    with pytest.raises(ValueError, match="not a tf.train.SequenceExample"):
        reader.parse(os.urandom(0) + b"\xff" * 20)
    wrong = tf.train.SequenceExample()
    wrong.context.feature["caption/string"].int64_list.value.append(3)
    with pytest.raises(ValueError, match="caption/string"):
        reader.parse(wrong.SerializeToString())


def test_needs_no_tensorflow():
    code = "import sys; import mmv_tf.records.reader, mmv_tf.inspection.verify; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
