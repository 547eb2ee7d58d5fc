import os

import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.inputs import offsets, shards
from mmv_tf.inputs.faults import Place, explain_data_error
from mmv_tf.inputs.stream import record_stream

SIZES = (5, 0, 2000, 17)  # bytes of the records of each shard


def write(path, contents):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)


@pytest.fixture
def found(tmp_path):
    for number in range(3):
        write(tmp_path / f"train-{number}", [bytes([number]) * size for size in SIZES[number:]])
    return shards.find(str(tmp_path / "train-*"))


def index(found, known=None):
    return offsets.index_of([found], {} if known is None else known)


def test_knows_where_records_begin(found):
    one = index(found)
    assert list(one.starts) == [0, 4, 7, 9]
    for record in range(9):
        place = one.place(record)
        file, first = one.files.index(place.shard), one.starts
        number = record - first[file]
        assert place == Place(found.files[file], number, found.counts[file])
        sizes = SIZES[file:]
        assert one.offsets[record] == sum(sizes[:number]) + 16 * number
    assert one.memory == 8 * (9 + 4) and one.bytes == sum(os.path.getsize(file) for file in found.files)
    assert not one.problems and not one.longer


def test_what_was_found_is_believed_while_the_file_is_the_same(found, monkeypatch):
    known = {}
    first = index(found, known)
    monkeypatch.setattr(offsets, "_scan", None)
    np.testing.assert_array_equal(index(found, known).offsets, first.offsets)
    os.utime(found.files[1], ns=(1, 1))
    with pytest.raises(TypeError):  # it would be read again
        index(found, known)


def test_an_index_that_took_long_is_kept_beside_the_shards(found, monkeypatch, tmp_path):
    index(found)
    assert not (tmp_path / offsets.FOLDER).exists()
    monkeypatch.setattr(offsets, "LONG", -1.0)
    first = index(found)
    assert sorted(os.listdir(tmp_path / offsets.FOLDER)) == [f"train-{n}.npy" for n in range(3)]
    assert shards.find(str(tmp_path / "*")) == found  # no shard
    monkeypatch.setattr(offsets, "_scan", None)
    np.testing.assert_array_equal(index(found).offsets, first.offsets)


@pytest.mark.parametrize("spoil", ["content", "size", "time", "count", "damaged", "text", "offsets"])
def test_a_kept_index_that_does_not_fit_is_made_again(found, monkeypatch, tmp_path, spoil):
    monkeypatch.setattr(offsets, "LONG", -1.0)
    index(found)
    shard, kept = tmp_path / "train-0", tmp_path / offsets.FOLDER / "train-0.npy"
    stat = os.stat(shard)
    if spoil == "content":  # as many records and bytes, one byte from one record to another, later
        write(shard, [b"x" * size for size in (6, 0, 1999, 17)])
    elif spoil == "size":  # at the same time
        write(shard, [b"x" * size for size in (6, 0, 2000, 17)])
        os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif spoil == "time":
        os.utime(shard, ns=(1, 1))
    elif spoil == "count":
        found = shards.Shards(found.files, (3, 3, 2))
    elif spoil == "damaged":
        kept.write_bytes(kept.read_bytes()[:-3])
    elif spoil == "text":
        kept.write_bytes(b"no array")
    else:
        numbers = np.load(kept)
        numbers[-4:-2] = numbers[-4:-2][::-1].copy()
        np.save(kept, numbers)
    monkeypatch.setattr(offsets, "_kept", _asked := _Counted(offsets._kept))
    again, known_now = index(found), offsets._scan(str(shard), os.path.getsize(shard), found.counts[0])
    np.testing.assert_array_equal(again.offsets[: found.counts[0]], known_now.offsets)
    assert _asked.found[found.files[0]] is None and _asked.found[found.files[2]] is not None


class _Counted:
    def __init__(self, function):
        self.function, self.found = function, {}

    def __call__(self, file, mark):
        self.found[file] = self.function(file, mark)
        return self.found[file]


def test_a_folder_that_cannot_be_written_does_not_matter(found, monkeypatch, tmp_path):
    monkeypatch.setattr(offsets, "LONG", -1.0)
    (tmp_path / offsets.FOLDER).write_text("a file in its place")
    assert len(index(found).offsets) == 9


def test_shards_that_are_not_whole_are_named_at_the_start(found, tmp_path):
    path = tmp_path / "train-2"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    one = index(found)
    assert list(one.offsets[7:]) == [0, -1] and one.lost[2] == "the shard ends before the end of record 1"
    (problem,) = one.problems
    assert problem.startswith(f"shard {path}: record 1 of 2 cannot be read")
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        next(iter(record_stream(found, 0)))  # whichever record comes first
    assert explain_data_error(caught.value) == problem
    path.write_bytes(b"?" + whole[1:])
    assert "the length of record 0 is damaged" in index(found).lost[2]
    path.write_bytes(whole + whole)
    assert index(found).longer == (f"shard {path}: holds more than the 2 records that dataset.json says",)
    path.unlink()
    with pytest.raises(tf.errors.NotFoundError, match="train-2"):
        index(found)


def test_a_record_is_read_alone(tmp_path, found):
    """Whatever lies before it may be damaged: only what is read is looked at."""
    epoch = [content for content, _ in record_stream(found, 0).take(9).as_numpy_iterator()]
    place = epoch.index(b"\x00" * 2000)
    content = bytearray((tmp_path / "train-0").read_bytes())
    content[13] ^= 1  # in the content of record 0
    (tmp_path / "train-0").write_bytes(content)
    assert next(iter(record_stream(found, 0, start=place)))[0].numpy() == epoch[place]


def test_more_records_than_fit_into_a_shard_are_refused_before_memory_is_taken(found):
    with pytest.raises(ValueError, match=r"shard .*train-0: dataset.json says that it holds 2000000000 records, for"):
        index(shards.Shards(found.files, (2_000_000_000, 3, 2)))


def test_no_pipe_is_waited_for(found, tmp_path):
    os.mkfifo(tmp_path / "train-9")
    with pytest.raises(ValueError, match="train-9: not a regular file"):
        shards.find(str(tmp_path / "train-*"))
