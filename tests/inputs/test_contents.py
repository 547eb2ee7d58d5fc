"""The identity of records: of what they hold, and of nothing else."""

import os
import shutil

import pytest
import tensorflow as tf

from helpers import record_fixtures as fixtures
from mmv_tf.inputs import contents, shards


def _identities(folder):
    return contents.identities(shards.find(str(folder / "*-of-*")))


@pytest.fixture
def clips():
    return [fixtures.record(f"clip{i}", captions=(f"text {i}",)) for i in range(4)]


def test_names_and_times_have_no_part_in_it(tmp_path, clips):
    fixtures.write_shards(tmp_path / "a", [clips[:3], clips[3:]], card=False)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for number, path in enumerate(sorted((tmp_path / "b").glob("*-of-*"))):
        os.utime(path, (1, 1))
        path.rename(path.with_name(f"other-{number:05d}-of-00002"))
    first, second = _identities(tmp_path / "a"), _identities(tmp_path / "b")
    assert first == second and len(set(first)) == 2


@pytest.mark.parametrize("changed", ["order", "one caption", "one less"])
def test_other_contents_under_the_same_names_are_others(tmp_path, clips, changed):
    fixtures.write_shards(tmp_path / "a", [clips], card=False)
    other = {
        "order": clips[::-1],
        "one caption": [*clips[:3], fixtures.record("clip3", captions=("text 4",))],  # as long as before
        "one less": clips[:3],
    }[changed]
    fixtures.write_shards(tmp_path / "b", [other], card=False)
    assert _identities(tmp_path / "a") != _identities(tmp_path / "b")


def test_a_shard_that_ends_too_early_is_another(tmp_path, clips):
    fixtures.write_shards(tmp_path / "a", [clips])  # with dataset.json, which says how many there are
    before = _identities(tmp_path / "a")
    (path,) = map(str, (tmp_path / "a").glob("*-of-*"))
    os.truncate(path, tf.io.gfile.stat(path).length - 200)
    assert _identities(tmp_path / "a") != before
