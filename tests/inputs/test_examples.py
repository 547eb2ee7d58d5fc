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


def write(folder, change=None, number=7):
    """20 records in 4 shards, labelled by their numbers; `change(Record)` -> bytes replaces one of them."""
    content = [[record(f"clip{s * 5 + i}", label=s * 5 + i, **SHORT) for i in range(5)] for s in range(4)]
    pattern = write_shards(folder, content)
    if change:
        shard = content[number // 5]
        with tf.io.TFRecordWriter(f"{folder}/train-{number // 5:05d}-of-00004") as writer:
            for i, one in enumerate(shard):
                writer.write(change(one) if i == number % 5 else schema.encode(one))
    return pattern


def cut_a_frame(one):
    jpegs = tuple(jpeg[: len(jpeg) // 3] for jpeg in one.jpegs)
    return schema.encode(dataclasses.replace(one, jpegs=jpegs))


def no_sequence_example(one):
    return b"no\nmessage" * 50


FAULTS = {cut_a_frame: "clip7", no_sequence_example: ""}


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


def assert_all_but_one(got, good, absent_label):
    """One example is absent; the others are where they are in the undisturbed run, bit by bit."""
    absent = 0
    for ours, theirs in zip(got, good, strict=True):
        for i in range(BATCH):
            if theirs["label"][i] == absent_label:
                absent += 1
                assert ours["label"][i] == -1
                for name in ("video", "audio", "text", "video_mask", "audio_mask", "text_mask"):
                    assert not ours[name][i].any(), name
            else:
                for name in theirs:
                    np.testing.assert_array_equal(ours[name][i], theirs[name][i], err_msg=name)
    assert absent == 1


def test_one_flipped_bit_leaves_out_one_record(tmp_path, good, capsys):
    pattern = write(tmp_path)
    path = flip_a_bit(tmp_path)
    pipe = pipeline(Source(pattern, name="mine"), max_bad_records=1)
    got = batches(pipe.training_dataset(BATCH, SEED), 2 * NUM_RECORDS // BATCH)  # two epochs: counted once
    assert_all_but_one(got[:5], good, absent_label=7)
    reason = "its checksum does not fit its content"
    assert pipe.bad_records == [dict(source="mine", shard=str(path), record=2, key="", reason=reason)]
    told = f"left out shard {path}: record 2 of 5 (source 'mine') cannot be used: {reason} (bad record 1 of at most 1)"
    said = capsys.readouterr().err
    assert said.count("left out") == 1 and told in said
    for ours, theirs in zip(batches(pipe.training_dataset(BATCH, SEED, start_step=3), 4), got[3:7], strict=True):
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("change", FAULTS)
def test_a_record_that_cannot_be_decoded(tmp_path, good, change):
    source = Source(write(tmp_path, change), name="mine")
    pipe = pipeline(source, max_bad_records=1)
    assert_all_but_one(batches(pipe.training_dataset(BATCH, SEED), 5), good, absent_label=7)
    (bad,) = pipe.bad_records
    assert (bad["record"], bad["key"]) == (2, FAULTS[change]) and bad["reason"]
    step = next(i for i, batch in enumerate(good) if 7 in batch["label"])
    strict = pipeline(source, modalities=("video",))
    with pytest.raises(tf.errors.OpError) as caught:
        batches(strict.training_dataset(BATCH, SEED), 5)
    assert explain_data_error(caught.value) is None
    called = f"key '{bad['key']}', source 'mine'" if bad["key"] else "source 'mine'"
    line = (
        f"the batch after step {step}: shard {bad['shard']}: record 2 of 5 ({called}) cannot be used: {bad['reason']};"
    )
    start = step if bad["key"] else 0
    assert strict.find_fault(BATCH, SEED, start, num_steps=1).startswith(line)  # some steps ahead are looked at, too
    assert "\n" not in line and "{{" not in line


def test_no_fault_is_found_where_there_is_none(tmp_path):
    assert pipeline(Source(write(tmp_path)), modalities=("video",)).find_fault(BATCH, SEED, 0, 1) is None


def test_a_shard_that_is_gone_is_no_bad_record(tmp_path):
    pipe = pipeline(Source(write(tmp_path)), modalities=("text",), max_bad_records=9)
    dataset = pipe.training_dataset(BATCH, SEED)
    for number in range(4):
        (tmp_path / f"train-{number:05d}-of-00004").rename(tmp_path / f"gone-{number}")
    with pytest.raises(tf.errors.OpError, match="train-0000"):
        batches(dataset, 5)
    assert not pipe.bad_records


def test_one_bad_record_too_many_stops_the_run(tmp_path):
    pattern = write(tmp_path, cut_a_frame)
    path = flip_a_bit(tmp_path, shard=3, number=1)
    pipe = pipeline(Source(pattern, name="mine"), max_bad_records=1, modalities=("video",))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        batches(pipe.training_dataset(BATCH, SEED), 5)
    line = explain_data_error(caught.value)
    assert "it makes 2 bad records, and InputPipeline.max_bad_records = 1" in line
    assert line.startswith((f"shard {path}: record 1 of 5", f"shard {tmp_path}/train-00001-of-00004: record 2 of 5"))
    assert len(pipe.bad_records) == 2


def test_clips_of_a_step_and_which_are_not_finite(tmp_path):
    def not_finite(one):
        sound = one.waveform[1:].tobytes()
        return schema.encode(one).replace(sound, np.full(len(one.waveform) - 1, np.nan, np.float32).tobytes())

    pipe = pipeline(Source(write(tmp_path, not_finite), name="mine"), modalities=("audio",))
    labels = [batch["label"] for batch in batches(pipe.training_dataset(BATCH, SEED), 5)]
    for step in (next(i for i in range(5) if 7 in labels[i]), 4):
        assert pipe.keys_of_step(BATCH, SEED, step) == [("mine", f"clip{n}", n == 7) for n in labels[step]]


@pytest.mark.parametrize(("weights", "shares"), [((1.0, 1.0), (4, 4)), ((3.0, 1.0), (6, 2))])
@pytest.mark.parametrize("hosts", [1, 2])
def test_a_mixture_holds_its_shares_and_text_where_there_is_some(tmp_path, weights, shares, hosts):
    for name, captions, first in (("told", ("a dog", "a cat"), 0), ("untold", (), 100)):
        (tmp_path / name).mkdir()
        content = [
            [record(f"{name}{s}{i}", captions=captions, label=first + 3 * s + i, **SHORT) for i in range(3)]
            for s in range(2)
        ]
        write_shards(tmp_path / name, content)
    sources = [Source(str(tmp_path / n / "train-*"), w) for n, w in zip(("told", "untold"), weights, strict=True)]
    pipe = pipeline(*sources, modalities=("text",))
    assert pipe.source_names == ("told", "untold")
    parts = []
    for host in range(hosts):
        context = tf.distribute.InputContext(hosts, host, num_replicas_in_sync=hosts)
        parts.append(batches(pipe.training_dataset(8, SEED, input_context=context), 3))
    for step in range(3):
        batch = {name: np.concatenate([part[step][name] for part in parts]) for name in parts[0][0]}
        assert tuple(np.bincount(batch["source"])) == shares
        np.testing.assert_array_equal(batch["label"] >= 100, batch["source"] == 1)
        np.testing.assert_array_equal(batch["text_mask"], np.repeat(batch["source"][:, None] == 0, 2, axis=1))
