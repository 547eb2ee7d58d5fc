"""The records of a run: those that it began with, whatever has become of the folder, and the bad ones among them."""

import json
import shutil

import pytest

from helpers import record_fixtures as fixtures
from mmv_tf.inputs.faults import BadRecords, Place
from mmv_tf.inputs.mixture import Source
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.training import workdir as workdirs


@pytest.fixture
def pipeline(tmp_path):
    parts = [[fixtures.record(f"clip{n}{m}") for m in range(3)] for n in range(3)]
    fixtures.write_shards(tmp_path / "records", parts)
    return InputPipeline(sources=[Source(str(tmp_path / "records/train-*"), name="mine")], modalities=("video",))


def _checked(pipeline, workdir):
    now = pipeline.training_contents(2)
    workdirs.check_records(str(workdir), now)
    workdirs.describe(str(workdir), pipeline, "", "", now)


def _list(folder):
    """Has dataset.json list the shards that are there."""
    card = json.loads((folder / "dataset.json").read_text())
    card["splits"]["train"]["shards"] = {file.name: 3 for file in folder.glob("train-*")}
    (folder / "dataset.json").write_text(json.dumps(card))


def _without(folder, name):
    (folder / name).unlink()
    _list(folder)


def test_a_run_goes_on_with_its_own_records_wherever_they_lie(pipeline, tmp_path):
    _checked(pipeline, tmp_path / "run")
    written = (tmp_path / "run/records.json").read_text()
    _checked(pipeline, tmp_path / "run")
    moved = shutil.copytree(tmp_path / "records", tmp_path / "moved")
    moved_pipeline = InputPipeline(sources=[Source(str(moved / "train-*"))], modalities=("video",))
    _checked(moved_pipeline, tmp_path / "run")
    assert (tmp_path / "run/records.json").read_text() == written


@pytest.mark.parametrize("change", ["gone", "replaced", "swapped", "added"])
def test_other_records_are_refused(pipeline, tmp_path, change):
    _checked(pipeline, tmp_path / "run")
    folder = tmp_path / "records"
    first, second = (folder / f"train-0000{n}-of-00003" for n in range(2))
    if change == "gone":
        _without(folder, second.name)
        message = "source 'mine': train-00001-of-00003 with 3 records is gone"
    elif change == "replaced":
        shutil.copyfile(first, second)
        message = r"source 'mine': train-00001-of-00003 held 3 records \(\w{32}\) and holds 3 others \(\w{32}\)"
    elif change == "swapped":
        first.rename(folder / "x"), second.rename(first), (folder / "x").rename(second)
        message = r"source 'mine': train-00000-of-00003 held 3 records"
    else:
        shutil.copyfile(first, folder / "train-00003-of-00003")
        _list(folder)
        message = "source 'mine': train-00003-of-00003 with 3 records is new"
    before = (tmp_path / "run/records.json").read_text()
    with pytest.raises(ValueError, match=f"the training records are not those that .*/run began with: {message}"):
        _checked(pipeline, tmp_path / "run")
    assert (tmp_path / "run/records.json").read_text() == before
    (tmp_path / "run/records.json").unlink()
    _checked(pipeline, tmp_path / "run")  # as the message says


def test_a_list_that_is_none_is_told(pipeline, tmp_path):
    _checked(pipeline, tmp_path / "run")
    for text in ("{", "{}", "[1]", '[{"source": "a", "shards": [[1]]}]'):
        (tmp_path / "run/records.json").write_text(text)
        with pytest.raises(ValueError, match="run/records.json: not a list of shards"):
            _checked(pipeline, tmp_path / "run")


def test_the_bound_of_bad_records_holds_over_the_sittings(tmp_path):
    path = str(tmp_path / "bad.json")
    bad = BadRecords(2)
    bad.keep(path)
    for number in (1, 2):
        bad.add(Place("a/train-0", number, 9), "mine", "key", "torn")
    again = BadRecords(2)
    again.keep(path)
    again.add(Place("moved/train-0", 2, 9), "mine", "key", "torn")  # known already, in whichever folder
    assert [one["record"] for one in again.as_list()] == [1, 2]
    with pytest.raises(ValueError, match="makes 3 bad records"):
        again.add(Place("moved/train-0", 3, 9), "mine", "key", "torn")
    with pytest.raises(ValueError, match="bad.json: 3 bad records .*max_bad_records = 2: raise it"):
        BadRecords(2).keep(path)
    more = BadRecords(3)
    more.keep(path)
    assert len(more.as_list()) == 3
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(ValueError, match="bad.json: not a list of bad records"):
        BadRecords(3).keep(path)
