import json
import os
import time

import pytest

from helpers import annotations
from helpers.annotations import write
from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets import catalog, voc2007


def _items(tmp_path, text, chunk=7):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    files_chunk, files.CHUNK = files.CHUNK, chunk
    try:
        return list(files.json_items(path, "an object"))
    finally:
        files.CHUNK = files_chunk


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 50, 1000])
def test_a_large_object_is_read_in_pieces(tmp_path, chunk):
    content = {f"-id{n}": {"start": [n, 1e-7], "text": ['a "b" \\ ü {', "}"]} for n in range(5)} | {"last": []}
    for text in (
        json.dumps(content),
        json.dumps(content, indent=3),
        "\ufeff" + json.dumps(content, ensure_ascii=False),
    ):
        assert _items(tmp_path, text + " \n", chunk) == list(content.items())
    assert _items(tmp_path, " { } ", chunk) == []


def test_what_is_no_file_is_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for name in ("pipe", "gone", "."):
        with pytest.raises(ValueError, match="no such file"):
            list(files.lines(tmp_path / name))


def test_python_writes_numbers_that_are_none(tmp_path):
    ((key, value),) = _items(tmp_path, json.dumps({"a": {"text": [float("nan")]}}))
    assert key == "a" and value["text"][0] != value["text"][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at its beginning .found 'nothing'"),
        ("[]", "at its beginning"),
        ('{"a": 1}', "after the key 'a' .found '1'"),
        ('{"a": {}', "after the key 'a'"),
        ('{"a": {}, }', "after the key 'a'"),
        ('{"a": {} "b": {}}', "after the key 'a'"),
        ('{"a": [1, }', "after the key 'a'"),
        ('{"a": "x"}', "after the key 'a'"),
        ("{1: []}", "at its beginning"),
        ('{"a', "at its beginning"),
        ('{"a": ' + "[" * 100_000, "after the key 'a'"),
    ],
)
def test_what_is_no_such_object(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"a.json: not valid JSON {message}.*; expected an object$"):
        _items(tmp_path, text)


def test_one_value_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_VALUE", 1000)
    assert _items(tmp_path, json.dumps({"a": ["x" * 900]}))
    with pytest.raises(ValueError, match="not valid JSON after the key 'a'"):
        _items(tmp_path, json.dumps({"a": ["x" * 5000]}))


def test_locate(tmp_path):
    for name in ("deep/er/train.csv", "x/my_train.csv", "x/train.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files.locate(tmp_path, ["train.csv", "*_train.csv"], "it") == tmp_path / "deep/er/train.csv"
    assert files.locate(tmp_path, ["*train.csv"], "it") == tmp_path / "x/my_train.csv"  # nearest
    assert files.locate(tmp_path / "x/train.txt", ["a.csv"], "it") == tmp_path / "x/train.txt"
    (tmp_path / "x/your_train.csv").touch()
    with pytest.raises(ValueError, match="both .*my_train.csv and .*your_train.csv could be meant"):
        files.locate(tmp_path, ["*_train.csv"], "it")
    with pytest.raises(ValueError, match="no a.csv or b.csv in it; expected it"):
        files.locate(tmp_path, ["a.csv", "b.csv"], "it")


def test_rows_of_many_kinds_of_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffA , "b"\r\n\r\n1, "x, ""y"""\r\n,\r\n2\r\n3,z,\r\n'.encode())
    found = [(where.rsplit(": ")[-1], row["a"], row["b"]) for where, row in files.rows(path, ("a", "b"), "it")]
    assert found == [("line 3", "1", 'x, "y"'), ("line 5", "2", ""), ("line 6", "3", "z")]
    with pytest.raises(
        ValueError, match="a.csv: line 1: no column c; the header is .A., .b., separated by commas; expected it"
    ):
        list(files.rows(path, ("a", "c"), "it"))
    path.write_text("a,b\n1,stir, then pour\n")
    with pytest.raises(ValueError, match="a.csv: line 2: 3 fields, and 2 columns separated by commas"):
        list(files.rows(path, ("a", "b"), "it"))
    path.write_bytes("a,b\n1,caf\u00e9\n".encode("cp1252"))
    with pytest.raises(ValueError, match="a.csv: not UTF-8; it looks like cp1252: save it as UTF-8"):
        list(files.rows(path, ("a", "b"), "it"))


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "", "x", "1e9", None, [], "9" * 400])
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match="is not a (number|time)"):
        files.seconds(text)


def test_many_names_take_no_square_of_their_number(tmp_path):
    names, began = [f"c{n // 2}" for n in range(40_000)], time.process_time()
    with pytest.raises(ValueError, match="f: two classes are called 'c0'"):
        files.by_id(dict(enumerate(names)), "f")
    (tmp_path / "a.csv").write_text(",".join(names) + "\n")
    with pytest.raises(ValueError, match="a.csv: line 1: column 'c0' is there twice"):
        list(files.rows(tmp_path / "a.csv", ("c1",), "it"))
    assert time.process_time() - began < 5


def test_a_line_of_blanks_takes_no_square_of_their_number(tmp_path):
    name, request, (trainlist, _) = annotations.ucf101(tmp_path)
    write(trainlist, f"YoYo/v_YoYo_g08_c01.avi{' ' * 20_000}3\nYoYo/v_{' ' * 20_000}YoYo_g08_c02.avi\n")
    began = time.process_time()
    inputs = catalog.read(name, request)
    assert [source.path for source in inputs.sources] == ["YoYo/v_YoYo_g08_c01.avi"] and len(inputs.rejections) == 1
    assert time.process_time() - began < 5


def test_ids_with_gaps():
    assert files.by_id({2: "c", 0: "a"}, "f") == ("a", "(class 1)", "c")
    with pytest.raises(ValueError, match="f: two classes are called 'a'"):
        files.by_id({0: "a", 1: "a"}, "f")
    with pytest.raises(ValueError, match="ids of classes must be"):
        files.by_id({10**8: "a"}, "f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": [1], "b": {"x": 1, "x": 2}}', "after the key 'b' .the key 'x' is there twice"),
        ('{"a": [1]} {"b": [2]}', "after the key 'a' .found '{' after its end"),
        ("{}x", "at its beginning .found 'x' after its end"),
        ('{"a": [' + "9" * 5000 + "]}", "after the key 'a' .Exceeds the limit"),
    ],
)
def test_json_of_which_something_would_be_lost(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        list(files.json_items(path, "it"))
    with pytest.raises(ValueError, match="a.json: not valid JSON"):
        files.load_json(path, "it")


@pytest.mark.parametrize(
    "xml",
    [
        "<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a [<!ENTITY l 'dog'>]><a><object>&l;</object></a>",
        "<a>" * 1000 + "</a>" * 1000,
        "<?xml version='1.0' encoding='nonsense'?><a>\xe9</a>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_xml_that_no_picture_is_described_by(tmp_path, xml, encoding):
    path = tmp_path / "a.xml"
    path.write_bytes(xml.encode(encoding))
    with pytest.raises(ValueError, match="a.xml: .*no description of VOC 2007"):
        voc2007._labels(path)
