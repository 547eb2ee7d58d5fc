import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.inputs import shards
from mmv_tf.inputs.faults import explain_data_error
from mmv_tf.inputs.stream import record_stream
from mmv_tf.records.card import DatasetCard, Split

COUNTS = (5, 9, 1, 0, 7, 12, 3)
TOTAL = sum(COUNTS)


def write(path, number, count):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in range(count):
            writer.write(f"{number}.{i}".encode())


@pytest.fixture
def folder(tmp_path):
    for number, count in enumerate(COUNTS):
        write(tmp_path / f"train-{number}", number, count)
    return tmp_path


def take(found, count, seed=1, window=0, **settings):
    stream = record_stream(found, seed, window=window, **settings).take(count)
    return [(record.decode(), int(position)) for record, position in stream.as_numpy_iterator()]


def test_counts_come_from_headers_or_from_the_card(folder):
    found = shards.find(str(folder / "train-*"))
    assert found.counts == (5, 9, 1, 7, 12, 3)  # the empty one is left out
    card = DatasetCard(10.0, 48000, 256, splits={"train": Split({f"train-{i}": c for i, c in enumerate(COUNTS)})})
    card.splits["train"].shards["train-0"] = 77
    card.save(folder)
    assert shards.find([str(folder / "train-0"), str(folder / "train-1")]).counts == (77, 9)


def test_every_epoch_has_each_record_once_in_a_new_order(folder):
    found = shards.find(str(folder / "train-*"))
    stream = take(found, 3 * TOTAL)
    assert [position for _, position in stream] == list(range(3 * TOTAL))
    epochs = [[record for record, _ in stream[i * TOTAL : (i + 1) * TOTAL]] for i in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == TOTAL
    assert epochs[0] != epochs[1] != epochs[2]
    assert take(found, TOTAL, seed=2) != stream[:TOTAL]
    # Shuffled: neighbours in a shard are seldom neighbours in the stream.
    follows = [a.split(".")[0] == b.split(".")[0] for a, b in zip(epochs[0], epochs[0][1:], strict=False)]
    assert np.mean(follows) < 0.5


@pytest.mark.parametrize("window", [0, 4])
def test_starts_anywhere(folder, window):
    found = shards.find(str(folder / "train-*"))
    stream = take(found, 2 * TOTAL + 13, window=window)
    for start in (TOTAL - 1, 2 * TOTAL + 3):
        assert take(found, 10, window=window, start=start) == stream[start : start + 10]


def test_hosts_share_the_positions(folder):
    found, hosts = shards.find(str(folder / "train-*")), 3
    stream = take(found, 2 * TOTAL)
    for host in range(hosts):
        expected = [(record, n) for record, n in stream[14:] if n % hosts == host]
        assert take(found, len(expected), start=14, host=host, num_hosts=hosts) == expected


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def fault(found):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        take(found, TOTAL + 5)
    return explain_data_error(caught.value)


def test_a_flipped_bit_names_shard_and_record(folder):
    found = shards.find(str(folder / "train-*"))
    flip(folder / "train-1", 3 * 19 + 12)  # 12 bytes of header, 3 of content, 4 of checksum
    assert fault(found).startswith(f"shard {folder}/train-1: record 3 of 9 cannot be read")


def test_wrong_counts_name_the_shard(folder):
    found = shards.find(str(folder / "train-*"))
    write(folder / "train-1", 1, 7)
    assert fault(found).startswith(f"shard {folder}/train-1: record 7 of 9 cannot be read")
    write(folder / "train-1", 1, 10)
    assert fault(found).startswith(f"shard {folder}/train-1: holds more than the 9 records")


def test_a_file_that_vanishes_stops_the_stream(folder):
    found = shards.find(str(folder / "train-*"))
    (folder / "train-5").unlink()
    with pytest.raises(tf.errors.NotFoundError, match="train-5"):
        take(found, TOTAL)


def test_mistakes_are_named(folder):
    with pytest.raises(ValueError, match="no file matches '.*/nothing-\\*'"):
        shards.find(str(folder / "nothing-*"))
    with pytest.raises(ValueError, match="train-3'? hold no record"):
        shards.find(str(folder / "train-3"))
    (folder / "train-1").write_bytes((folder / "train-1").read_bytes()[:-2])
    with pytest.raises(ValueError, match="train-1: record 8 is cut off"):
        shards.find(str(folder / "train-1"))
    DatasetCard(10.0, 48000, 256, splits={"train": Split({"train-0": 5, "train-9": 3})}).save(folder)
    with pytest.raises(ValueError, match="train-9 is in dataset.json and not in the folder"):
        shards.find(str(folder / "train-*"))
