import json

import pytest

from mmv_tf.records import card as dataset_card
from mmv_tf.records.card import DatasetCard, Split


def _card():
    train = Split({"train-00001-of-00002": 3, "train-00000-of-00002": 2}, {"read": 7, "accepted": 5, "rejected": 2})
    train.counters["reasons"] = {"crash": 2}
    train.word_counts = {"pour": 4, "a": 1}
    test = Split({"test-00000-of-00001": 1}, {"read": 2, "accepted": 1, "rejected": 1, "reasons": {"timeout": 1}})
    test.word_counts = {"a": 9}
    return DatasetCard(10.0, 48000, 256, {"train": train, "test": test}, {"archery": 0, "Küche": 1}, {"av": "1"})


def test_round_trip(tmp_path):
    _card().save(tmp_path)
    assert dataset_card.load(tmp_path) == _card()
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]


def test_sums_over_splits():
    card = _card()
    assert card.shards == {"train-00000-of-00002": 2, "train-00001-of-00002": 3, "test-00000-of-00001": 1}
    assert card.files("train") == ["train-00000-of-00002", "train-00001-of-00002"]
    assert card.splits["train"].num_records == 5
    assert card.counters == {"read": 9, "accepted": 6, "rejected": 3, "reasons": {"crash": 2, "timeout": 1}}
    assert list(card.word_counts.items()) == [("a", 10), ("pour", 4)]


def test_an_unknown_split_names_those_that_exist():
    with pytest.raises(ValueError, match="'val'.*test, train"):
        _card().files("val")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields.update(schema_version=99), "schema_version 99"),
        (lambda fields: fields.pop("splits"), "splits"),
        (lambda fields: fields.pop("frame_rate"), "frame_rate"),
        (lambda fields: fields.update(fps=3), "fps"),
    ],
)
def test_bad_fields_name_the_file(tmp_path, change, message):
    _card().save(tmp_path)
    path = tmp_path / "dataset.json"
    fields = json.loads(path.read_text("utf-8"))
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=f"dataset.json.*{message}"):
        dataset_card.load(tmp_path)


def test_missing_or_broken_file(tmp_path):
    with pytest.raises(ValueError, match="dataset.json: not found"):
        dataset_card.load(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="dataset.json: not valid JSON"):
        dataset_card.load(tmp_path)
