"""The vocabulary job: what counts, in which order, and the vectors beside it."""

import json
import tempfile

import numpy as np
import pytest

from helpers import memory_files, record_fixtures
from mmv_tf.beam import vocabulary as job
from mmv_tf.beam import word_count
from mmv_tf.records import word_vectors
from mmv_tf.records.schema import Caption, Record
from mmv_tf.records.tfrecord import framed

ONCE = Caption("The Saw, the saw's teeth", 1.0, 2.0)


def clip(key, path, *captions):
    return Record(key, path, 0.0, 1.0, captions=captions)


@pytest.fixture
def records(tmp_path):
    """'saw' 3 times, 'teeth' 2, 'wood' 2, 'glue' 1; three clips share one narration."""
    shards = [
        [clip("a:0-1", "a", ONCE, Caption("wood", 3.0, 4.0)), clip("a:1-2", "a", ONCE)],
        [clip("a:2-3", "a", ONCE), clip("b:0-1", "b", Caption("Wood and GLUE\u2014saw", 1.0, 2.0))],
        [clip("c:0-1", "c", Caption("teeth", 1.0, 2.0)), clip("d:0-1", "d")],
    ]
    folder = tmp_path / "records"
    folder.mkdir()
    record_fixtures.write_shards(folder, shards)
    return folder


def run(records, output, *more):
    return job.cli(["--records", str(records), "--output", str(output), "--direct_num_workers=1", *more])


def test_each_narration_counts_once(records, tmp_path, capsys, monkeypatch):
    output, temporary = tmp_path / "out" / "words.txt", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert run(records, output) == 0
    assert list(temporary.iterdir()) == []  # Beam alone leaves four empty folders
    assert output.read_text().split() == ["saw", "teeth", "wood", "glue"]
    report = json.loads((tmp_path / "out" / "words.txt.json").read_text())
    assert (report["narrations"], report["tokens"], report["stop_words"]) == (4, 11, 3)
    assert report["coverage"] == {"4": 1.0} and report["distinct_words"] == 4
    assert "4 narrations with 11 words, 3 of them stop words" in capsys.readouterr().out


def test_clips_that_do_not_say_where_they_are_from_count_each(tmp_path):
    clip = record_fixtures.foreign({"caption/string": [b"pour the batter"]}, {})
    for shard, number in enumerate((2, 3)):
        (tmp_path / f"train-0000{shard}-of-00002").write_bytes(framed(clip) * number)
    (tmp_path / "words.txt").write_text("older\nones\n")
    assert run(tmp_path, tmp_path / "words.txt", "--size", "1") == 0
    assert (tmp_path / "words.txt").read_text() == "batter\n"
    report = json.loads((tmp_path / "words.txt.json").read_text())
    assert (report["narrations"], report["tokens"], report["stop_words"]) == (5, 15, 5)
    assert report["coverage"] == {"1": 5 / 10} and report["distinct_words"] == 2


def test_vectors_in_the_order_of_the_vocabulary(records, tmp_path, capsys):
    vectors, matrix = tmp_path / "glove.txt", tmp_path / "embeddings.npy"
    vectors.write_text("wood 1 2\nOther 9 9\nSaw 3 4\nGLUE 5 6\n")
    output = tmp_path / "words.txt"
    assert run(records, output, "--vectors", str(vectors), "--embeddings", str(matrix), "--min_count", "2") == 0
    assert output.read_text().split() == ["saw", "teeth", "wood"]
    assert np.load(matrix).tolist() == [[0, 0], [3, 4], [0, 0], [1, 2]]
    said = capsys.readouterr().out
    assert "2 of 3 words have a vector" in said
    assert f"--gin_param=\"TextNetwork.vectors='{matrix}'\"" in said
    assert "--gin_param=TextNetwork.vocabulary_size=4 --gin_param=TextNetwork.dim=2" in said


def test_a_damaged_record_ends_it_in_one_message(records, tmp_path, capsys):
    shard = records / "train-00001-of-00003"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)
    assert run(records, tmp_path / "words.txt") == 2
    assert f"{shard}: the checksum of record 0 does not fit its content" in capsys.readouterr().err
    assert not (tmp_path / "words.txt").exists()


@pytest.mark.parametrize(
    "more, said",
    [
        (["--split", "test"], "no split 'test' in this dataset; it has train"),
        (["--vectors", "nowhere.bin", "--embeddings", "e.npy"], "nowhere.bin: no such file"),
    ],
)
def test_wrong_settings_are_one_line(records, tmp_path, capsys, more, said):
    assert run(records, tmp_path / "words.txt", *more) == 2
    assert said in capsys.readouterr().err
    assert job.cli(["--records", str(tmp_path / "no"), "--output", str(tmp_path / "x")]) == 2
    assert "no: no such folder" in capsys.readouterr().err


def test_no_narration_is_an_error(tmp_path, capsys):
    record_fixtures.write_shards(tmp_path, [[clip("a", "a")]])
    assert run(tmp_path, tmp_path / "words.txt") == 2
    error = capsys.readouterr().err
    assert "0 narrations in 1 shards, and no word for a vocabulary" in error
    assert "gin/own.gin" in error and "`mmv_tf transcribe`" in error


def test_records_and_vocabulary_in_a_bucket(records):
    for path in records.iterdir():
        memory_files.FILES[f"mem://bucket/records/{path.name}"] = (path.read_bytes(), 0.0)
    try:
        assert run("mem://bucket/records", "mem://bucket/words.txt") == 0
        assert memory_files.FILES["mem://bucket/words.txt"][0].split() == [b"saw", b"teeth", b"wood", b"glue"]
        assert not [url for url in memory_files.FILES if "tmp" in url]
    finally:
        memory_files.FILES.clear()


def test_coverage_of_parts_of_a_vocabulary():
    counts = [10] * 1000 + [1] * 4000
    assert word_count._coverage(counts, 20_000) == {"1024": 10_024 / 20_000, "4096": 13_096 / 20_000, "5000": 0.7}
    assert word_count._coverage([], 0) == {}


def test_names_of_words_in_files_of_vectors():
    assert word_vectors.variants("paris") == ["paris", "Paris", "PARIS"]
    assert word_vectors.variants("2020s") == ["2020s", "2020S", "####s", "####S"]
    assert word_vectors.variants("7") == ["7"]
