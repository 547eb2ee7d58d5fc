"""Which texts of a record go with a clip where there are more than it takes."""

import collections
import dataclasses

import numpy as np
import tensorflow as tf

from helpers import record_fixtures as fixtures
from mmv_tf.beam.captions.nearest import nearest
from mmv_tf.evaluation.windows import Windows
from mmv_tf.inputs import labels
from mmv_tf.inputs.clip import ClipMaker
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema
from mmv_tf.records.schema import Caption

SENTENCES = tuple(f"sentence {letter}" for letter in "abcdefghijklmnopqrst")  # as they are stored: by the alphabet


def _clips(candidates=5):
    video = VideoInput(num_frames=4, frame_rate=10.0, min_side=40, crop_size=40, colour_probability=0.0)
    return ClipMaker(["text"], video, None, candidates)


def _with(record, captions):
    return dataclasses.replace(record, captions=tuple(captions))


def _training(record, numbers):
    made, data = _clips(), schema.encode(record)
    training = tf.function(lambda seed: made.training(data, tf.constant(0), seed)["text"], autograph=False)
    return [[text.decode() for text in training(tf.constant([7, n])).numpy()] for n in numbers]


def test_training_draws_other_sentences_about_the_whole_clip_each_time():
    record = _with(fixtures.record("m", num_frames=40), [Caption(text, 0.0, 4.0) for text in SENTENCES])
    drawn = _training(record, range(200))
    assert all(len(set(texts)) == 5 for texts in drawn) and drawn[:3] == _training(record, range(3))
    counts = collections.Counter(text for texts in drawn for text in texts)
    assert counts.keys() == set(SENTENCES) and 25 < min(counts.values()) and max(counts.values()) < 80  # of 50


def test_evaluation_takes_the_same_ones_each_time_and_not_the_first_of_the_alphabet():
    made, found = _clips(), []
    for number in range(12):
        data = schema.encode(fixtures.record(f"clip{number}", num_frames=40, captions=SENTENCES))
        texts = made.evaluation(data, tf.constant(0), 1)["text"].numpy().tolist()
        assert texts == made.evaluation(data, tf.constant(0), 1)["text"].numpy().tolist()
        found.append(tuple(texts))
    assert len(set(found)) == 12 and len({text for texts in found for text in texts}) > 15


def test_the_texts_of_an_evaluation_are_drawn_by_key_too():
    first = []
    for number in range(12):
        data = schema.encode(fixtures.record(f"clip{number}", captions=SENTENCES))
        one = Windows("text", 1).function()(tf.constant(0, tf.int64), tf.constant(data))
        three = [Windows("text", 3).function()(tf.constant(n, tf.int64), tf.constant(data)) for n in range(3)]
        assert three[0]["labels"].numpy().decode().split(labels.SEPARATOR) == [
            t["input"].numpy().decode() for t in three
        ]
        assert one["input"].numpy() == three[0]["input"].numpy()  # more captions are the same ones and others
        first.append(one["input"].numpy())
    assert len(set(first)) > 6
    all_of_them = Windows("text", 20).function()(tf.constant(0, tf.int64), tf.constant(data))
    assert all_of_them["labels"].numpy().decode().split(labels.SEPARATOR) == list(SENTENCES)


def test_what_is_nearer_comes_first_whatever_is_drawn():
    times = [(0.0, 1.0), (0.5, 1.5), (9.0, 9.5), (9.0, 9.5), (9.0, 9.5), (1.0, 2.0), (0.0, 3.0)]
    record = fixtures.record("m", num_frames=4)  # 0.4 s, so that the clip begins at its start
    spans = [(begin + record.start, end + record.start) for begin, end in times]
    drawn = _training(_with(record, [Caption(f"{n}", *span) for n, span in enumerate(spans)]), range(20))
    assert {tuple(texts[:2]) for texts in drawn} == {("0", "6")}  # they cover the clip
    assert {tuple(texts[2:4]) for texts in drawn} == {("1", "5")}
    assert {texts[4] for texts in drawn} == {"2", "3", "4"}  # equally far


def test_fewer_texts_stay_in_their_order():
    assert _training(fixtures.record("m", num_frames=40, captions=("b", "a")), [0]) == [["b", "a", "", "", ""]]


def test_preprocessing_draws_among_equals_too():
    captions = [Caption(text, None, None) for text in SENTENCES]
    kept = [nearest(captions, 0.0, 5.0, 5, 1.0, f"clip{n}") for n in range(12)]
    assert len(set(kept)) == 12 and all(len(one) == 5 and list(one) == sorted(one) for one in kept)
    assert nearest(captions, 0.0, 5.0, 5, 1.0, "clip3") == kept[3]
    near = [Caption("near", 2.0, 3.0), *[Caption(text, 7.0, 8.0) for text in SENTENCES]]
    assert [nearest(near, 0.0, 5.0, 3, 4.0, f"{n}")[0].text for n in range(5)] == ["near"] * 5
    assert np.unique([nearest(near, 0.0, 5.0, 3, 4.0, f"{n}")[1].text for n in range(30)]).size > 8
