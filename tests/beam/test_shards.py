"""Keys, shards and framing: what must not change under the feet of a data set."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.beam import storage
from mmv_tf.beam.specs import Settings
from mmv_tf.records.card import Reason
from mmv_tf.records.naming import clip_key, shard_of
from mmv_tf.records.tfrecord import check_framed, framed

FIELDS = dataclasses.fields(Settings)


def test_keys_and_shards_are_stable():
    assert clip_key("a/b.mp4", 12.5, 22.0) == "a/b.mp4:12.5-22" and clip_key("a", 0.0, None) == "a:0-"
    assert clip_key("a", 1 / 3, 100.0) == "a:0.333333-100"
    assert [shard_of(f"k{n}", 8)[0] for n in range(8)] == [6, 0, 0, 2, 1, 2, 3, 7]
    counts = np.bincount([shard_of(f"video{n}", 8)[0] for n in range(8000)], minlength=8)
    assert counts.min() > 900 and counts.max() < 1100


def test_clips_of_one_source_do_not_lie_side_by_side():
    keys = [clip_key(f"video{v}.mp4", 10.0 * c, 10.0 * c + 10) for v in range(20) for c in range(20)]
    order = sorted(keys, key=lambda key: shard_of(key, 1)[1])
    films = [key.partition(":")[0] for key in order]
    beside = np.mean([first == second for first, second in zip(films, films[1:], strict=False)])
    assert beside < 0.12  # by chance 19 of 399; by the key 95 %


def test_every_setting_changes_the_fingerprint():
    default = Settings()
    changed = [dataclasses.replace(default, **{field.name: getattr(default, field.name) + 1}) for field in FIELDS]
    assert len({settings.fingerprint("a") for settings in [default, *changed]}) == len(FIELDS) + 1
    assert default.fingerprint("a") == Settings().fingerprint("a") != default.fingerprint("b")


def test_reasons_are_a_dozen_at_most():
    assert len(Reason) <= 12


def test_framing_is_that_of_tensorflow(tmp_path):
    data = [b"", b"x", os.urandom(1000)]
    (tmp_path / "a").write_bytes(b"".join(map(framed, data)))
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / "a"))] == data
    frame = bytearray(framed(data[2]))
    assert check_framed(bytes(frame))
    for position in (0, 9, 500, len(frame) - 1):
        frame[position] ^= 1
        assert not check_framed(bytes(frame))
        frame[position] ^= 1
    assert not check_framed(bytes(frame[:-1]))


def test_a_file_appears_when_it_is_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), storage.WholeFile(str(tmp_path), str(tmp_path / "a")) as file:
        file.write(b"half")
        assert not (tmp_path / "a").exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
