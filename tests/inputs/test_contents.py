"""The identity of records: of what they hold, and of nothing else."""

import os
import shutil

import pytest
import tensorflow as tf

from helpers import record_fixtures as fixtures
from mmv_tf.inputs import contents, shards
from mmv_tf.inputs.mixture import Source
from mmv_tf.inputs.pipeline import InputPipeline


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


def _contents(folder, name="mine"):
    pipeline = InputPipeline(sources=[Source(str(folder / "*-of-*"), name=name)], modalities=("video",))
    return pipeline.training_contents(2)


def test_contents_of_sources_in_a_file(tmp_path, clips):
    fixtures.write_shards(tmp_path / "a", [clips[:3], [], clips[3:]])
    fixtures.write_shards(tmp_path / "b", [clips[1:2]])
    sources = [Source(str(tmp_path / folder / "*-of-*")) for folder in "ab"]
    found = InputPipeline(sources=sources, modalities=("video",)).training_contents(2)
    assert [(one.source, one.shards, one.records) for one in found] == [
        ("train", ("train-00000-of-00003", "train-00002-of-00003"), (3, 1)),
        ("train_2", ("train-00000-of-00001",), (1,)),
    ] or [one.source for one in found] == ["a", "b"]
    assert [list(one.identities) for one in found] == [_identities(tmp_path / folder) for folder in "ab"]
    assert contents.from_json(contents.to_json(found)) == found
    with pytest.raises((ValueError, KeyError, TypeError)):
        contents.from_json('[{"source": "a"}]')


def test_differences_are_said_with_both_contents(tmp_path, clips):
    shards_of = {
        "before": [clips[:2], clips[2:3], clips[3:]],
        "gone": [clips[:2], clips[2:3]],
        "new": [clips[:2], clips[2:3], clips[3:], clips[:1]],
        "replaced": [clips[:2], clips[1:2], clips[3:]],
        "swapped": [clips[2:3], clips[:2], clips[3:]],
    }
    for name, parts in shards_of.items():
        folder = tmp_path / name
        fixtures.write_shards(folder, parts, card=False)
        for path in folder.iterdir():
            path.rename(folder / f"{path.name[:11]}-of-9")
    before = _contents(tmp_path / "before")
    assert contents.difference(before, _contents(tmp_path / "before", "another")) is None
    said = {name: contents.difference(before, _contents(tmp_path / name)) for name in shards_of}
    assert said["before"] is None
    assert said["gone"].startswith("source 'mine': train-00002-of-9 with 1 records is gone (1 of 3 shards)")
    assert said["new"].startswith("source 'mine': train-00003-of-9 with 1 records is new (1 shards)")
    was, now = (_identities(tmp_path / name)[1] for name in ("before", "replaced"))
    assert said["replaced"] == f"source 'mine': train-00001-of-9 held 1 records ({was}) and holds 1 others ({now})"
    assert said["swapped"].startswith("source 'mine': train-00000-of-9 held 2 records (")
    assert contents.difference(before, before * 2) == "1 sources were read (mine), and now 2 (mine, mine)"
