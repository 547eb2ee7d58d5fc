import pytest
import tensorflow as tf

from helpers import record_fixtures
from mmv_tf.inputs import shards
from mmv_tf.inputs.faults import FAULT_MARK, explain_data_error
from mmv_tf.inputs.shards import read_at, read_shard, read_what_can_be_read

SIZE = 16 + 2  # bytes of a record with its frame


@pytest.fixture
def shard(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "shard")) as writer:
        for i in range(6):
            writer.write(f"r{i}".encode())
    return tmp_path / "shard"


def read(how, shard, begin=0, end=6, count=6):
    numbers = (tf.constant(n, tf.int64) for n in (count, begin, end))
    return list(how(tf.constant(str(shard)), *numbers).as_numpy_iterator())


@pytest.mark.parametrize("how", [read_shard, read_what_can_be_read])
def test_reads_a_range(shard, how):
    assert read(how, shard) == [b"r0", b"r1", b"r2", b"r3", b"r4", b"r5"]
    assert read(how, shard, 2, 4) == [b"r2", b"r3"]
    assert read(how, shard, 5, 6) == [b"r5"]


def test_shards_are_read_whole_one_after_the_other(shard):
    found = shards.Shards((str(shard), str(shard)), (6, 6))
    assert [tuple(int(n) for n in numbers) for _, *numbers in shards.slices(found)] == [(6, 0, 6)] * 2
    records = shards.slices(found).flat_map(read_shard).as_numpy_iterator()
    assert list(records) == [b"r0", b"r1", b"r2", b"r3", b"r4", b"r5"] * 2


@pytest.mark.parametrize("how", [read_shard, read_what_can_be_read])
def test_more_records_than_known_are_an_error(shard, how):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        read(how, shard, 0, 5, count=5)
    assert explain_data_error(caught.value) == f"shard {shard}: holds more than the 5 records that dataset.json says"


@pytest.mark.parametrize("how", [read_shard, read_what_can_be_read])
def test_a_shard_that_is_missing_is_an_error(tmp_path, how):
    with pytest.raises(tf.errors.OpError, match="nowhere"):
        read(how, tmp_path / "nowhere")


def damage(shard, place):
    content = bytearray(shard.read_bytes())
    content[place] ^= 1
    shard.write_bytes(content)


def test_goes_on_after_a_damaged_record(shard):
    damage(shard, 2 * SIZE + 12)
    damage(shard, 4 * SIZE + 15)
    bad = (FAULT_MARK + "its checksum does not fit its content").encode()
    assert read(read_what_can_be_read, shard) == [b"r0", b"r1", bad, b"r3", bad, b"r5"]
    assert read(read_what_can_be_read, shard, 3, 4) == [b"r3"]


def test_a_damaged_length_hides_what_follows(shard):
    damage(shard, 3 * SIZE)
    records = read(read_what_can_be_read, shard, 1)
    assert records[:2] == [b"r1", b"r2"] and len(set(records[2:])) == 1 and len(records) == 5
    assert records[2].decode().startswith(FAULT_MARK + "the length of record 3 is damaged")
    assert read(read_what_can_be_read, shard, 5) == records[-1:]


@pytest.mark.parametrize("size", [4 * SIZE, 4 * SIZE + 5, 5 * SIZE - 1])
def test_a_shard_that_ends_too_early(shard, size):
    shard.write_bytes(shard.read_bytes()[:size])
    lost = (FAULT_MARK + "the shard ends before the end of record 4").encode()
    assert read(read_what_can_be_read, shard) == [b"r0", b"r1", b"r2", b"r3", lost, lost]


def at(shard, offset):
    is_whole, content = read_at(tf.constant(str(shard)), tf.constant(offset, tf.int64))
    return bool(is_whole), content.numpy()


def test_reads_one_record_by_its_place(shard):
    assert [at(shard, i * SIZE) for i in range(6)] == [(True, f"r{i}".encode()) for i in range(6)]
    damage(shard, 2 * SIZE + 12)
    for wrong in (2 * SIZE, SIZE + 1, 6 * SIZE, 2**40, -1):  # damaged, no beginning, the end, far beyond it, unknown
        assert at(shard, wrong) == (False, b"")
    assert at(shard, 3 * SIZE) == (True, b"r3")


def test_a_file_that_is_gone_is_no_damaged_record(tmp_path):
    with pytest.raises(tf.errors.NotFoundError, match="nowhere"):
        at(tmp_path / "nowhere", 0)


def test_held_out_records_lie_beside(tmp_path):
    pattern = str(tmp_path / "train-*")
    assert shards.held_out_beside([pattern]) == ""
    (tmp_path / "validation-00000-of-00001").touch()
    assert shards.held_out_beside([pattern]) == str(tmp_path / "validation-*")
    (tmp_path / "test-00000-of-00001").touch()
    for patterns in ((pattern, "elsewhere/train-*"), ("elsewhere/train-*", pattern)):
        assert shards.held_out_beside([patterns]) == str(tmp_path / "test-*")


def touch(folder, *names):
    for name in names:
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            writer.write(name.encode())


def test_shards_of_a_run_that_has_not_ended_are_refused(tmp_path):
    """preprocess takes its split out of dataset.json before it writes the first shard."""
    for name in ("a", "b"):
        record_fixtures.write_shards(tmp_path / name, [[record_fixtures.record(name)]], split="test")
    touch(tmp_path / "a", "train-00000-of-00002", "notes")  # killed at its first run
    why = "a/train-00000-of-00002 is not in the dataset.json beside it: a run of preprocess has not ended; start it"
    for pattern in ("a/train-*", "a/*-of-*", "*/train-*", "a/train-00000-of-00002"):
        with pytest.raises(ValueError, match=why):
            shards.find(str(tmp_path / pattern))
    assert shards.find(str(tmp_path / "*/test-*")).counts == (1, 1)
    assert shards.find(str(tmp_path / "a/notes")).counts == (1,)  # no shard of ours by its name
    # At another --num_shards.
    pattern = record_fixtures.write_shards(tmp_path / "a", [[record_fixtures.record("c")]] * 3)
    with pytest.raises(ValueError, match="a/train-00000-of-00002 is not in the dataset.json"):
        shards.find(pattern)
    assert shards.find(str(tmp_path / "a/train-*-of-00003")).num_records == 3
    (tmp_path / "a/train-00001-of-00003").unlink()
    with pytest.raises(ValueError, match="a/train-00001-of-00003 is in dataset.json and not in the folder"):
        shards.find(str(tmp_path / "*/train-*-of-00003"))


def test_shards_of_other_tools_are_of_one_number(tmp_path):
    first = [f"train-{n:05d}-of-00003" for n in range(3)]
    touch(tmp_path, *first[1:], "other-00000-of-00009.tfrecord")  # some of them are what a pattern may mean
    assert shards.find(str(tmp_path / "*-of-*")).num_records == 3
    touch(tmp_path, "train-00000-of-00002")
    why = "train-00001-of-00003 and train-00000-of-00002 are shards of two runs, .* such as 'train-\\*-of-00003\\*'"
    with pytest.raises(ValueError, match=why):
        shards.find(str(tmp_path / "train-*"))
    assert shards.find([str(tmp_path / "train-*-of-00003"), str(tmp_path / "train-*-of-00002")]).num_records == 3
