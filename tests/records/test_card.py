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


def _train(fields, **changes):
    fields["splits"]["train"].update(changes)


def test_round_trip(tmp_path):
    _card().save(tmp_path)
    assert dataset_card.load(tmp_path) == _card()
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]


def test_sums_over_splits():
    card = _card()
    assert card.shards == {"train-00000-of-00002": 2, "train-00001-of-00002": 3, "test-00000-of-00001": 1}
    assert card.files("train") == ["train-00000-of-00002", "train-00001-of-00002"]
    assert card.splits["train"].num_records == 5
    assert card.counters == {
        "read": 9,
        "accepted": 6,
        "rejected": 3,
        "reasons": {"crash": 2, "timeout": 1},
        "remarks": {},
    }
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
        (lambda fields: fields.update(schema_version="1"), "no schema_version"),
        (lambda fields: fields.update(frame_rate=0), "frame_rate: 0 is no number from 0 to"),
        (lambda fields: fields.update(frame_rate="10"), 'frame_rate: "10" is no number'),
        (lambda fields: fields.update(frame_rate=True), "frame_rate: true is no number"),
        (lambda fields: fields.update(sample_rate=48000.5), "sample_rate: 48000.5 is no whole number"),
        (lambda fields: fields.update(short_side=10**9), "short_side: 1000000000 is no whole number"),
        (lambda fields: fields.update(sample_rate=10**400), "sample_rate: 10+ is no whole number"),
        (lambda fields: fields.update(frame_rate=10**400), "frame_rate: 10+ is no number"),
        (lambda fields: fields.update(short_side=10**400), "short_side: 10+ is no whole number"),
        (lambda fields: fields.update(label_map=[1]), r"label_map: \[1\] is no object"),
        (lambda fields: fields.update(label_map={"a": "b"}), "label_map: \"b\" of 'a' is no count"),
        (lambda fields: fields.update(label_map={"a": 1, "b": 1}), "label_map: two labels have the same id"),
        (lambda fields: fields.update(splits=[]), r"splits: \[\] is no object"),
        (lambda fields: fields.update(splits={"train": None}), "splits/train: null is no object"),
        (lambda fields: fields.update(splits={"../x": {}}), "splits: '../x' is no name of a split"),
        (lambda fields: _train(fields, shards={"train-0": None}), "splits/train/shards: null of 'train-0' is no count"),
        (lambda fields: _train(fields, shards={"train-0": -1}), "shards: -1 of 'train-0' is no count"),
        (lambda fields: _train(fields, shards={"train-0": 8.5}), "shards: 8.5 of 'train-0' is no count"),
        (lambda fields: _train(fields, shards={"train-0": True}), "shards: true of 'train-0' is no count"),
        (lambda fields: _train(fields, shards={"train-0": 10**12}), "shards: 1000000000000 of 'train-0' is no count"),
        (lambda fields: _train(fields, shards={"../train-0": 1}), "'../train-0' is no name of a file"),
        (lambda fields: _train(fields, shards={"/etc/passwd": 1}), "'/etc/passwd' is no name of a file"),
        (lambda fields: _train(fields, counters={"read": "x"}), "counters: \"x\" of 'read' is no count"),
        (lambda fields: _train(fields, counters={"reasons": {"a": -1}}), "counters/reasons: -1 of 'a' is no count"),
        (lambda fields: _train(fields, word_counts={"a": 10**30}), "word_counts: 1000.* of 'a' is no count"),
        (lambda fields: _train(fields, settings={"sha256": {"a": 1}}), "settings/sha256: 1 of 'a' is no text"),
        (lambda fields: _train(fields, settings={"max_captions": 1.5}), "settings/max_captions: 1.5 is no count"),
        (lambda fields: _train(fields, settings=7), "splits/train/settings: 7 is no object"),
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
    for text in ("[" * 200_000, "[]", '"x"', '{"frame_rate": NaN}', '{"a": ' + "9" * 5000 + "}"):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(ValueError, match="dataset.json: not valid JSON"):
            dataset_card.load(tmp_path)
    (tmp_path / "dataset.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="dataset.json: not a text"):
        dataset_card.load(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="dataset.json: not valid JSON"):
        dataset_card.load(tmp_path)
