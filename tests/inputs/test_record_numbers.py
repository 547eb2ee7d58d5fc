"""The number of a clip's record in a training batch: the same for any host, place and mixture, and in a whole pass."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import SAMPLE_RATE, record, write_shards
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.pipeline import InputPipeline, Source
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema

BATCH, FIRST, SECOND = 4, 10, 6  # records of the two sources


def _make(*patterns, modalities=(), **settings):
    made = InputPipeline(
        [Source(pattern, weight=1 + number) for number, pattern in enumerate(patterns)],
        modalities=modalities,  # none: keys and labels alone
        video=VideoInput(num_frames=2, min_side=20, crop_size=16, jit_compile=False),
        audio=LogMel(SAMPLE_RATE, 64, 32, 8, 20.0, 400.0),
        readers=2,
        **settings,
    )
    made.numbers_records = True
    return made


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    """Two sources, whose records are labelled by their numbers among all; of number 7 no clip can be made."""
    made, number = [], 0
    for name, shards in (("first", (3, 0, 7)), ("second", (1, 5))):
        content = []
        for count in shards:
            content.append([record(f"clip{number + i}", num_frames=4, label=number + i) for i in range(count)])
            number += count
        made.append(write_shards(tmp_path_factory.mktemp("records") / name, content))
    return made


def _numbers(dataset, count):
    found = [(batch["index"].numpy(), batch["label"].numpy()) for batch in dataset.take(count)]
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def test_numbers_go_through_the_sources_and_are_the_same_from_any_place_on_any_host(patterns):
    pipeline = _make(*patterns)
    dataset = pipeline.training_dataset(BATCH, seed=1)
    assert dataset.element_spec == pipeline.element_spec(BATCH)
    numbers, labels = _numbers(dataset, 10)
    np.testing.assert_array_equal(numbers, labels)
    assert numbers.dtype == np.int32 and set(numbers) == set(range(FIRST + SECOND))
    later, _ = _numbers(pipeline.training_dataset(BATCH, seed=1, start_step=5), 3)
    np.testing.assert_array_equal(later, numbers[5 * BATCH : 8 * BATCH])
    hosts = [
        _numbers(pipeline.training_dataset(BATCH, seed=1, input_context=tf.distribute.InputContext(2, host, 2)), 3)[0]
        for host in range(2)
    ]
    together = np.concatenate([host.reshape(3, BATCH // 2) for host in hosts], axis=1)
    np.testing.assert_array_equal(together.ravel(), numbers[: 3 * BATCH])


def test_only_who_asks_gets_numbers(patterns):
    pipeline = _make(patterns[0])
    pipeline.numbers_records = False
    assert "index" not in pipeline.training_dataset(2).element_spec and "index" not in pipeline.zeros(1)


def test_a_whole_pass_has_every_record_once_in_the_order_of_the_numbers(patterns):
    batches = list(_make(*patterns).every_training_record(BATCH, 5))
    keys = [key.decode() for batch in batches for key in batch["key"].numpy()]
    assert keys == [f"clip{number}" for number in range(FIRST + SECOND)] and len(batches[-1]["key"]) == 1


def test_a_record_that_is_left_out_keeps_its_number_and_has_nothing(patterns, tmp_path):
    content = [[record(f"clip{s}{i}", num_frames=4, label=4 * s + i) for i in range(4)] for s in range(2)]
    pattern = write_shards(tmp_path, content)
    with tf.io.TFRecordWriter(f"{tmp_path}/train-00001-of-00002") as writer:
        for number, one in enumerate(content[1]):
            writer.write(b"no\nmessage" * 50 if number == 2 else schema.encode(one))
    pipeline = _make(pattern, modalities=("audio",), max_bad_records=2)
    (batch,) = pipeline.training_dataset(8, seed=1).take(1)
    numbers = batch["index"].numpy()
    assert sorted(numbers) == list(range(8))
    np.testing.assert_array_equal(batch["audio_mask"].numpy(), numbers != 6)
    np.testing.assert_array_equal(batch["label"].numpy(), np.where(numbers == 6, -1, numbers))
    whole = list(pipeline.every_training_record(8, 3))
    np.testing.assert_array_equal(np.concatenate([one["audio_mask"] for one in whole]), np.arange(8) != 6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(_make(pattern).every_training_record(8, 3))
