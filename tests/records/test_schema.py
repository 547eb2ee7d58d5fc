import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import FULL, foreign
from mmv_tf.records import schema
from mmv_tf.records.schema import Record


def test_round_trip_of_a_full_record():
    parsed = {key: value.numpy() for key, value in schema.parse(schema.encode(FULL)).items()}
    assert parsed["key"] == FULL.key.encode()
    assert parsed["video"].tolist() == list(FULL.jpegs)
    assert parsed["frame_rate"] == 12.5 and parsed["sample_rate"] == 44100
    np.testing.assert_array_equal(parsed["audio"], FULL.waveform)
    assert parsed["text"].tolist() == ["gießen".encode(), b"pour it"]
    assert parsed["text_start"].tolist() == [1.0, 4.0] and parsed["text_end"].tolist() == [2.25, 5.0]
    assert parsed["label"].tolist() == [3, 0] and parsed["label_name"].tolist() == [b"cooking", b"archery"]
    assert parsed["start"] == 1.5 and parsed["end"] == 3.5


def test_nothing_is_a_legal_record():
    parsed = schema.parse(schema.encode(Record("k", "x.mp4", 0.0, 1.0)))
    for name in ("video", "audio", "text", "text_start", "label", "label_name"):
        assert parsed[name].shape == [0], name
    assert parsed["frame_rate"].numpy() == 10 and parsed["sample_rate"].numpy() == 48000


def test_dtypes_and_ranks_inside_a_dataset():
    dataset = tf.data.Dataset.from_tensors(schema.encode(FULL)).map(schema.parse)
    spec = {key: (value.dtype.name, value.shape.rank) for key, value in dataset.element_spec.items()}
    assert spec == {
        "key": ("string", 0),
        "video": ("string", 1),
        "frame_rate": ("float32", 0),
        "audio": ("float32", 1),
        "sample_rate": ("float32", 0),
        "text": ("string", 1),
        "text_start": ("float32", 1),
        "text_end": ("float32", 1),
        "label": ("int64", 1),
        "label_name": ("string", 1),
        "start": ("float32", 0),
        "end": ("float32", 0),
    }
    assert next(iter(dataset))["key"].numpy() == FULL.key.encode()


def test_keys_as_dmvr_and_mediasequence_define_them():
    example = tf.train.SequenceExample.FromString(schema.encode(FULL))
    context, lists = example.context.feature, example.feature_lists.feature_list
    assert context["schema/version"].int64_list.value == [schema.SCHEMA_VERSION]
    assert context["clip/start/timestamp"].int64_list.value == [1_500_000]  # microseconds
    assert context["clip/end/timestamp"].int64_list.value == [3_500_000]
    assert context["clip/data_path"].bytes_list.value == [b"a/b.mp4"]
    assert context["image/format"].bytes_list.value == [b"JPEG"]
    assert [context[f"image/{k}"].int64_list.value[0] for k in ("height", "width", "channels")] == [256, 340, 3]
    assert [f.int64_list.value[0] for f in lists["image/timestamp"].feature] == [1_500_000, 1_580_000]
    # DMVR takes the first feature of the list as the whole waveform.
    assert len(lists["WAVEFORM/feature/floats"].feature) == 1
    assert len(lists["WAVEFORM/feature/floats"].feature[0].float_list.value) == 96
    assert context["clip/label/text"] == context["clip/label/string"]


def test_reads_a_record_of_dmvr():
    data = foreign(
        {"clip/label/index": [7], "clip/label/text": [b"run"], "caption/string": [b"x"], "clip/media_id": [b"id7"]},
        {"image/encoded": [[b"j0"], [b"j1"]], "WAVEFORM/feature/floats": [[0.25, -0.5]]},
    )
    parsed = schema.parse(data)
    assert parsed["key"].numpy() == b"id7"
    assert parsed["video"].numpy().tolist() == [b"j0", b"j1"]
    assert parsed["audio"].numpy().tolist() == [0.25, -0.5]
    assert parsed["label"].numpy().tolist() == [7] and parsed["label_name"].numpy().tolist() == [b"run"]


def test_reads_the_key_names_of_vatt_and_mediasequence():
    vatt = schema.parse(foreign({"label/index": [1], "label/text": [b"a"]}, {"waveform/floats": [[0.5]]}))
    assert vatt["audio"].numpy().tolist() == [0.5]
    assert vatt["label"].numpy().tolist() == [1] and vatt["label_name"].numpy().tolist() == [b"a"]
    media_sequence = schema.parse(foreign({"clip/label/string": [b"b"]}, {}))
    assert media_sequence["label_name"].numpy().tolist() == [b"b"]


def test_a_newer_schema_is_an_error():
    data = foreign({"schema/version": [schema.SCHEMA_VERSION + 1]}, {})
    with pytest.raises(tf.errors.InvalidArgumentError, match="newer schema"):
        schema.parse(data)
    with pytest.raises(tf.errors.InvalidArgumentError, match="newer schema"):
        next(iter(tf.data.Dataset.from_tensors(data).map(schema.parse)))


@pytest.mark.parametrize("waveform", [np.zeros(3), np.zeros((3, 1), np.float32), np.array([np.nan], np.float32)])
def test_a_wrong_waveform_names_the_record(waveform):
    with pytest.raises(ValueError, match="a/b.mp4"):
        schema.encode(dataclasses.replace(FULL, waveform=waveform))


def test_writing_needs_no_tensorflow():
    code = (
        "import sys; from mmv_tf.records import card, schema; "
        "schema.encode(schema.Record('k', 'v', 0., 1.)); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
