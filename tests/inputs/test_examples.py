import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import SAMPLE_RATE, record, write_shards
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.faults import explain_data_error
from mmv_tf.inputs.pipeline import InputPipeline, Source
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema

NUM_RECORDS, BATCH, SEED = 20, 4, 3
SHORT = dict(num_frames=6)


def pipeline(*sources, **settings):
    return InputPipeline(
        sources,
        video=VideoInput(num_frames=4, min_side=20, crop_size=16, jit_compile=False),
        audio=LogMel(SAMPLE_RATE, 64, 32, 8, 20.0, 400.0),
        text=Tokenizer(("dog", "cat")),
        **{"max_candidates": 2, "readers": 2, "shuffle_window": 4, **settings},
    )


def batches(dataset, count):
    return [{k: v.numpy() for k, v in batch.items()} for batch in dataset.take(count)]


def write(folder, **changes):
    """20 records in 4 shards, labelled by their numbers; clip7=`change(Record)` -> bytes replaces one of them."""
    content = [[record(f"clip{s * 5 + i}", label=s * 5 + i, **SHORT) for i in range(5)] for s in range(4)]
    pattern = write_shards(folder, content)
    for shard, ones in enumerate(content if changes else ()):
        with tf.io.TFRecordWriter(f"{folder}/train-{shard:05d}-of-00004") as writer:
            for one in ones:
                writer.write(changes.get(one.key, schema.encode)(one))
    return pattern


def cut_a_frame(one):
    jpegs = tuple(jpeg[: len(jpeg) // 3] for jpeg in one.jpegs)
    return schema.encode(dataclasses.replace(one, jpegs=jpegs))


def no_sequence_example(one):
    return b"no\nmessage" * 50


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The undisturbed epoch."""
    pattern = write(tmp_path_factory.mktemp("good"))
    return batches(pipeline(Source(pattern, name="mine")).training_dataset(BATCH, SEED), NUM_RECORDS // BATCH)


def flip_a_bit(folder, shard=1, number=2):
    """In the content of a record, at its end; returns the path."""
    path = pathlib.Path(folder) / f"train-{shard:05d}-of-00004"
    content, position = bytearray(path.read_bytes()), 0
    for _ in range(number + 1):
        length = int.from_bytes(content[position : position + 8], "little")
        position += length + 16
    content[position - 10] ^= 4
    path.write_bytes(content)
    return path


def assert_all_but(absent, got, good):
    """The examples of these labels are absent; all others are where they are in the undisturbed run, bit by bit."""
    left_out = []
    for ours, theirs in zip(got, good, strict=True):
        for i in range(BATCH):
            if theirs["label"][i] in absent:
                left_out.append(theirs["label"][i])
                assert ours["label"][i] == -1
                for name in ("video", "audio", "text", "video_mask", "audio_mask", "text_mask"):
                    assert not ours[name][i].any(), name
            else:
                for name in theirs:
                    np.testing.assert_array_equal(ours[name][i], theirs[name][i], err_msg=name)
    assert sorted(left_out) == sorted(absent)


def test_bad_records_are_left_out_each_alone(tmp_path, good, capsys):
    """A flipped bit, a frame that ends too soon, and bytes that are no record."""
    pattern = write(tmp_path, clip13=cut_a_frame, clip19=no_sequence_example)
    path = flip_a_bit(tmp_path)
    pipe = pipeline(Source(pattern, name="mine"), max_bad_records=3)
    got = batches(pipe.training_dataset(BATCH, SEED), 2 * NUM_RECORDS // BATCH)  # two epochs: counted once
    assert_all_but([7, 13, 19], got[:5], good)
    flipped, cut, no_record = sorted(pipe.bad_records, key=lambda bad: bad["shard"])
    reason = "its checksum does not fit its content"
    assert flipped == dict(source="mine", shard=str(path), record=2, key="", reason=reason)
    assert (cut["record"], cut["key"]) == (3, "clip13") and (no_record["record"], no_record["key"]) == (4, "")
    said = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(said) == 3
    for number, (line, bad) in enumerate(zip(said, pipe.bad_records, strict=True), 1):
        called = f"key '{bad['key']}', " * bool(bad["key"])
        place = f"left out shard {bad['shard']}: record {bad['record']} of 5 ({called}source 'mine')"
        assert bad["reason"] and f"{place} cannot be used: {bad['reason']} (bad record {number} of at most 3)" in line
    for ours, theirs in zip(batches(pipe.training_dataset(BATCH, SEED, start_step=3), 4), got[3:7], strict=True):
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_record_that_cannot_be_decoded_is_looked_for(tmp_path, good):
    strict = pipeline(Source(write(tmp_path), name="mine"), modalities=("video",))
    assert strict.find_fault(BATCH, SEED, 0, 1) is None
    step = next(i for i, batch in enumerate(good) if 7 in batch["label"])
    for change, called, start in ((cut_a_frame, "key 'clip7', ", step), (no_sequence_example, "", 0)):
        write(tmp_path, clip7=change)
        with pytest.raises(tf.errors.OpError) as caught:
            batches(strict.training_dataset(BATCH, SEED), 5)
        assert explain_data_error(caught.value) is None
        line = strict.find_fault(BATCH, SEED, start, num_steps=1)  # some steps ahead are looked at, too
        shard = f"shard {tmp_path}/train-00001-of-00004"
        begin = f"the batch after step {step}: {shard}: record 2 of 5 ({called}source 'mine') cannot be used: "
        assert line.startswith(begin) and "; preprocess again" in line.removeprefix(begin)[1:]
        assert "\n" not in line and "{{" not in line


def test_a_shard_that_is_gone_is_no_bad_record(tmp_path):
    pipe = pipeline(Source(write(tmp_path)), modalities=(), max_bad_records=9)
    dataset = pipe.training_dataset(BATCH, SEED)
    for number in range(4):
        (tmp_path / f"train-{number:05d}-of-00004").rename(tmp_path / f"gone-{number}")
    with pytest.raises(tf.errors.OpError, match="train-0000"):
        batches(dataset, 5)
    assert not pipe.bad_records


def test_one_bad_record_too_many_stops_the_run(tmp_path):
    pattern = write(tmp_path, clip7=no_sequence_example)
    path = flip_a_bit(tmp_path, shard=3, number=1)
    pipe = pipeline(Source(pattern, name="mine"), max_bad_records=1, modalities=())
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        batches(pipe.training_dataset(BATCH, SEED), 5)
    line = explain_data_error(caught.value)
    assert "it makes 2 bad records, and InputPipeline.max_bad_records = 1" in line
    assert line.startswith((f"shard {path}: record 1 of 5", f"shard {tmp_path}/train-00001-of-00004: record 2 of 5"))
    assert len(pipe.bad_records) == 2


def test_clips_of_a_step_and_which_are_not_finite(tmp_path, good):
    def not_finite(one):
        sound = one.waveform[1:].tobytes()
        return schema.encode(one).replace(sound, np.full(len(one.waveform) - 1, np.nan, np.float32).tobytes())

    pipe = pipeline(Source(write(tmp_path, clip7=not_finite), name="mine"), modalities=("audio",))
    labels = [batch["label"] for batch in good]
    for step in (next(i for i in range(5) if 7 in labels[i]), 4):
        assert pipe.keys_of_step(BATCH, SEED, step) == [("mine", f"clip{n}", n == 7) for n in labels[step]]


def test_a_mixture_holds_its_shares_and_text_where_there_is_some(tmp_path):
    for name, captions, first in (("told", ("a dog", "a cat"), 0), ("untold", (), 100)):
        content = [
            [record(f"{name}{s}{i}", captions=captions, label=first + 3 * s + i, **SHORT) for i in range(3)]
            for s in range(2)
        ]
        write_shards(tmp_path / name, content)
    sources = [Source(str(tmp_path / name / "train-*"), weight) for name, weight in (("told", 3.0), ("untold", 1.0))]
    pipe = pipeline(*sources, modalities=("text",))
    assert pipe.source_names == ("told", "untold")
    parts = []
    for host in range(2):
        context = tf.distribute.InputContext(2, host, num_replicas_in_sync=2)
        parts.append(batches(pipe.training_dataset(8, SEED, input_context=context), 3))
    for step in range(3):
        batch = {name: np.concatenate([part[step][name] for part in parts]) for name in parts[0][0]}
        assert tuple(np.bincount(batch["source"])) == (6, 2)
        np.testing.assert_array_equal(batch["label"] >= 100, batch["source"] == 1)
        np.testing.assert_array_equal(batch["text_mask"], np.repeat(batch["source"][:, None] == 0, 2, axis=1))
