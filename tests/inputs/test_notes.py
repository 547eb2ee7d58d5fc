"""What a run says of its data at the start."""

import pytest

from helpers.record_fixtures import record, write_shards
from mmv_tf.inputs import notes, offsets
from mmv_tf.inputs.mixture import Source
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.inputs.video import VideoInput


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    found = []
    for name, count in (("many", 24), ("few", 6)):
        folder = tmp_path_factory.mktemp("records") / name
        folder.mkdir()
        clips = [record(f"{i}", num_frames=1, height=8, width=8, sound=False) for i in range(count)]
        found.append(write_shards(folder, [clips[::2], clips[1::2]]))
    return found


def lines(patterns, batch, weights=(3, 1), **settings):
    sources = [Source(pattern, weight) for pattern, weight in zip(patterns, weights, strict=False)]
    return InputPipeline(sources, (), VideoInput(num_frames=1), **settings).training_notes(batch)


def test_order_and_memory(patterns):
    (line,) = lines(patterns[:1], 4)
    assert (
        line.startswith("data: 24 records of ") and " in 2 shards; each epoch is a permutation of all records;" in line
    )
    assert "index 216 bytes, the order is computed and takes no memory; 16 records are read side by side" in line


def test_a_batch_larger_than_the_data_set(patterns):
    _, line = lines(patterns[:1], 64)
    assert line.startswith(
        "a batch holds 64 clips and there are 24 records: each is in it 2 or 3 times, so 40 of 64 are"
    )
    assert "2 times, so 24 of 48" in lines(patterns[:1], 48)[1]
    assert len(lines(patterns[:1], 8)) == 1
    assert "about 2.8 of 20 clips are windows" in lines(patterns[:1], 20)[1]  # 20 x 20 / (6 x 24)


def test_each_source_of_a_mixture(patterns):
    _, shares, many, few = lines(patterns, 32, weights=(0.75, 0.25))
    assert shares == "shares of a batch of 32, on average and exact over the run: 24 of many, 8 of few"
    assert "about 4 of 24 clips of many are" in many
    assert few.startswith("a batch holds 8 clips of few and there are 6 records") and "so 2 of 8 are" in few
    assert "2 shards belong to two sources" in lines([patterns[0]] * 2, 2)[-1]


def test_a_window(patterns):
    (line,) = lines(patterns[:1], 4, shuffle_window=9)
    assert "about 9 records are permuted among themselves (3 neighbours at a time)" in line
    assert "full shuffle (InputPipeline.shuffle_window = 0)" in line
    (line,) = lines(patterns[:1], 4, shuffle_window=9, shuffle_bytes=1e3)
    assert "less than InputPipeline.shuffle_window = 9 to stay within shuffle_bytes" in line
    assert "each epoch is a permutation of all records" in lines(patterns[:1], 4, shuffle_window=24)[0]


def test_records_that_are_drawn_by_themselves(patterns):
    (line,) = lines(patterns[:1], 4, order="independent")
    assert "each clip is of a record drawn by itself, so some come more often than others" in line
    _, line = lines(patterns[:1], 8, order="independent")
    assert line.startswith("about 1.1 of the 8 clips in a batch are windows")  # 8 - 24 (1 - (23 / 24) ^ 8) = 1.07
    with pytest.raises(ValueError, match="shuffle_window = 9 permutes records of an epoch, and there is none"):
        lines(patterns[:1], 4, shuffle_window=9, order="independent")


def test_a_setting_without_effect_is_named(patterns):
    _, line = lines(patterns[:1], 4, shuffle_bytes=2**20)
    assert line.startswith("InputPipeline.shuffle_bytes = 1.04858e+06 has no effect")


def test_what_object_stores_are_asked_for(monkeypatch):
    index = offsets.Index(("gs://bucket/train-0",), None, range(1000), ("",), (), (), 3_900_000_000, ("",))
    monkeypatch.delenv("GCS_READ_CACHE_BLOCK_SIZE_MB", raising=False)
    (line,) = notes._remote(index, 3.9e6)
    assert "3.9 MB; its file system reads 64 MB each time" in line and "4 would be enough" in line
    monkeypatch.setenv("GCS_READ_CACHE_BLOCK_SIZE_MB", "4")
    assert "enough" not in notes._remote(index, 3.9e6)[0]
