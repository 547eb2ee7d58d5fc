import json
import os

import pytest

from helpers import watch
from helpers.traversals import traversals
from mmv_tf.beam.sources import folder, manifest, paths
from mmv_tf.beam.specs import ClipSpec, Source
from mmv_tf.records.schema import Caption


def _csv(tmp_path, text):
    path = tmp_path / "m.csv"
    path.write_text(text)
    return path


def _reasons(inputs):
    return [(rejection.path, rejection.reason) for rejection in inputs.rejections]


def test_csv(root, tmp_path):
    text = (
        "video_path,start,end,caption,label\n"
        'sub/b.mkv,2.5,5,"pour, slowly",cooking\n'
        "a.mp4,4,6,,\n"
        "./a.mp4,0,,a whole film,\n"
    )
    inputs = manifest.from_manifest(_csv(tmp_path, text), root)
    assert inputs.rejections == []
    assert inputs.sources == [
        Source("a.mp4", (ClipSpec(0.0, None, (Caption("a whole film", None, None),)), ClipSpec(4.0, 6.0))),
        Source("sub/b.mkv", (ClipSpec(2.5, 5.0, (Caption("pour, slowly", None, None),), ("cooking",)),)),
    ]


def test_pictures_of_a_manifest(root, tmp_path):
    inputs = manifest.from_manifest(_csv(tmp_path, "video_path,start,end,label\nx.JPG,,,cat\ny.png,1,2,cat\n"), root)
    assert inputs.sources == [Source("x.JPG", (ClipSpec(labels=("cat",)),), "image")]
    assert _reasons(inputs) == [("y.png", "bad_row")]


def test_jsonl(root, tmp_path):
    path = tmp_path / "m.jsonl"
    captions = [{"text": "one", "start": 1, "end": 2.5}, "loose", {"text": "two", "start": 0.5, "end": 0.75}]
    rows = [
        {"video_path": "a.mp4", "start": 0, "end": 4, "captions": captions, "label": ["b", "a"]},
        {"video_path": "a.mp4", "label": 7},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (source,) = manifest.from_manifest(path, root).sources
    one, two, loose = Caption("one", 1.0, 2.5), Caption("two", 0.5, 0.75), Caption("loose", None, None)
    assert source.clips == (ClipSpec(0.0, 4.0, (loose, two, one), ("a", "b")), ClipSpec(0.0, None, (), ("7",)))


def test_spaces_of_a_name_in_json_are_part_of_it(root, tmp_path):
    (tmp_path / "m.jsonl").write_text('{"video_path": " lead.mp4"}\n{"video_path": " "}\n')
    inputs = manifest.from_manifest(tmp_path / "m.jsonl", root)
    assert [source.path for source in inputs.sources] == [" lead.mp4"]
    assert [rejection.detail for rejection in inputs.rejections] == ["line 2: no video_path"]


def test_rows_of_one_span_are_one_clip_whatever_their_order(root, tmp_path):
    rows = ["a.mp4,0,2,first,x", "a.mp4,0,2,second,y", "a.mp4,0.0,2.0,first,x"]
    results = []
    for order in (rows, rows[::-1]):
        inputs = manifest.from_manifest(_csv(tmp_path, "\n".join(["video_path,start,end,caption,label", *order])), root)
        assert inputs.remarks.numbers == {"row_joined": 2} and inputs.rows == 3
        results.append(inputs.sources)
    assert results[0] == results[1]
    (clip,) = results[0][0].clips
    assert [c.text for c in clip.captions] == ["first", "second"] and clip.labels == ("x", "y")


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("a.mp4,5,5,,", "bad_row", "line 2: end 5 is not after start 5"),
        ("a.mp4,x,5,,", "bad_row", 'line 2: start "x" is not a number'),
        ("a.mp4,nan,5,,", "bad_row", 'line 2: start "nan" is not a time'),
        ("a.mp4,-1,5,,", "bad_row", 'line 2: start "-1" is not a time'),
        ("a.mp4,0,1e999,,", "bad_row", 'line 2: end "1e999" is not a time'),
        (",0,5,,", "bad_row", "line 2: no video_path"),
        ("a.mp4,0,5,,,x", "bad_row", "line 2: 6 fields, and 5 columns"),
        ("a.mp4,0,5", "bad_row", "line 2: 3 fields, and 5 columns"),
        ("../outside.mp4,0,5,,", "outside_root", "line 2: the path leads out"),
        ("/etc/passwd,0,5,,", "outside_root", "line 2: the path leads out"),
        ("sub/../../outside.mp4,0,5,,", "outside_root", "line 2: the path leads out"),
        (".,0,5,,", "outside_root", "line 2: the path leads out"),
    ],
)
def test_bad_rows_are_rejected_one_by_one(root, tmp_path, row, reason, detail):
    inputs = manifest.from_manifest(_csv(tmp_path, f"video_path,start,end,caption,label\n{row}\nc.wav,0,1,,\n"), root)
    (rejection,) = inputs.rejections
    assert rejection.reason == reason and rejection.detail.startswith(detail)
    assert [source.path for source in inputs.sources] == ["c.wav"]


@pytest.mark.parametrize(
    ("path", "reason", "detail"),
    [
        ("missing.mp4", "missing_file", "no such file"),
        ("sub", "missing_file", "not a regular file"),
        ("http:/host/a.mp4", "missing_file", "no such file"),
        (f"{'x' * 5000}.mp4", "missing_file", "no such file"),
        ("link.mp4", "outside_root", "the path leads out of the root"),
    ],
)
def test_files_are_looked_for_where_they_are_opened(root, tmp_path, path, reason, detail):
    os.symlink("../outside.mp4", root / "link.mp4")
    row = path.replace("http:/", "http://")
    inputs = manifest.from_manifest(_csv(tmp_path, f"video_path,start,end\n{row},0,5\n"), root)
    assert inputs.sources == [Source(path, (ClipSpec(0.0, 5.0),))]
    file, why = paths.confine(root, path)
    assert file is None and (why[0].value, why[1]) == (reason, detail)


def test_a_root_in_a_bucket(tmp_path):
    text = "video_path,start,end\na/b.mp4,0,5\n../c.mp4,0,5\n/d.mp4,0,5\n"
    inputs = manifest.from_manifest(_csv(tmp_path, text), "gs://bucket/videos")
    assert [source.path for source in inputs.sources] == ["a/b.mp4"]
    assert _reasons(inputs) == [("../c.mp4", "outside_root"), ("/d.mp4", "outside_root")]
    with pytest.raises(ValueError, match="gs://bucket: only a folder can be searched"):
        folder.from_folder("gs://bucket")


def test_200_ways_out_of_the_root(root, tmp_path):
    ways = traversals()
    assert len(set(ways)) == 200
    (tmp_path / "videos2").mkdir()
    (tmp_path / "videos2/a.mp4").touch()
    file = tmp_path / "m.jsonl"
    file.write_text("".join(json.dumps({"video_path": path}) + "\n" for path in ways))
    with watch.opened() as opened:
        inputs = manifest.from_manifest(file, root)
        assert all(paths.confine(root, path)[0] is None for path in ways)
    assert inputs.sources == [] and set(opened) == {os.path.realpath(file)}
    assert {rejection.reason for rejection in inputs.rejections} == {"outside_root"} and len(inputs.rejections) == 200


def test_bad_lines_of_json(root, tmp_path):
    lines = [
        "{",
        "[]",
        '"a.mp4"',
        "[" * 100_000,
        '{"video_path": 3}',
        '{"video_path": "a.mp4", "end": 1' + "0" * 400 + "}",
        '{"video_path": "a.mp4", "captions": [{"text": "x", "start": 1}]}',
        '{"video_path": "a.mp4", "label": {"x": 1}}',
        '{"video_path": "\\ud800.mp4"}',
        '{"video_path": "a\\u0000.mp4"}',
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(lines))
    inputs = manifest.from_manifest(path, root)
    assert inputs.sources == []
    assert [rejection.reason for rejection in inputs.rejections] == ["bad_row"] * len(lines)
    assert [rejection.detail.split(":")[0] for rejection in inputs.rejections] == [f"line {n}" for n in range(1, 11)]


def test_long_fields_do_not_end_the_reading(root, tmp_path):
    text = f"video_path,start,end,caption,label\na.mp4,0,1,{'x' * 1_000_000},\n"
    inputs = manifest.from_manifest(_csv(tmp_path, text), root)
    assert len(inputs.sources[0].clips[0].captions[0].text) == 1000 and inputs.remarks.numbers == {"caption_mended": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,start,end\na,0,1\n",
            "m.csv: line 1: no column video_path; the header is 'path', 'start', 'end', separated by commas",
        ),
        ("video_path,start\na,0\n", "m.csv: line 1: no column end"),
        ("video_path,start,end,captoin\na,0,1,x\n", "m.csv: line 1: unknown column captoin"),
        ("video_path,start,end\n", "m.csv: no row"),
        ("", "m.csv: it is empty; expected video_path, start, end"),
    ],
)
def test_a_bad_manifest_is_one_line_that_names_it(root, tmp_path, text, message):
    with pytest.raises(ValueError) as caught:
        manifest.from_manifest(_csv(tmp_path, text), root)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_missing_inputs(root, tmp_path):
    with pytest.raises(ValueError, match="--videos .*nowhere: not a folder"):
        folder.from_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no video or sound file"):
        folder.from_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="m.csv: no such file"):
        manifest.from_manifest(tmp_path / "m.csv", root)
    (tmp_path / "m.txt").write_text("x")
    with pytest.raises(ValueError, match="m.txt: expected a file that ends in .csv, .tsv or .jsonl"):
        manifest.from_manifest(tmp_path / "m.txt", root)


def _one(root, path, data):
    path.write_bytes(data)
    return manifest.from_manifest(path, root)


@pytest.mark.parametrize(
    "text",
    [
        "video_path;start;end;caption;label\na.mp4;0;5;stir, slowly;cook\n",
        "video_path\tstart\tend\tcaption\tlabel\na.mp4\t0\t5\tstir, slowly\tcook\n",
        'video_path, start, end, caption, label\na.mp4, 0, 5, "stir, slowly", cook\n',
        '"Video_Path","START","end","caption","label"\r\n\r\n"a.mp4","0","5","stir, slowly","cook"\r\n',
        ',video_path,start,end,caption,label\n0,a.mp4,0,5,"stir, slowly",cook\n',
        'Unnamed: 0,video_path,start,end,caption,label\n0,a.mp4,0,5,"stir, slowly",cook\n',
        'label,caption,end,start,video_path\ncook,"stir,\nslowly",5,0,a.mp4',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_tables_as_programs_write_them(root, tmp_path, text, encoding):
    inputs = _one(root, tmp_path / "m.csv", text.encode(encoding))
    clip = ClipSpec(0.0, 5.0, (Caption("stir, slowly", None, None),), ("cook",))
    assert inputs.sources == [Source("a.mp4", (clip,))] and inputs.rejections == []
    assert inputs.remarks.numbers["column_ignored"] == text.startswith((",", "Unnamed"))


def test_a_table_in_latin1_keeps_its_labels_apart_and_says_so(root, tmp_path):
    rows = "video_path,start,end,caption,label\na.mp4,0,5,cr\u00e8me,caf\u00e9\na.mp4,5,10,th\u00e9,caf\u00ea\n"
    inputs = _one(root, tmp_path / "m.csv", rows.encode("latin-1"))
    assert [clip.labels for clip in inputs.sources[0].clips] == [("caf\u00e9",), ("caf\u00ea",)]
    assert [line.detail for line in inputs.remarks.lines] == ["not UTF-8; read as cp1252"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('a.mp4,0,5,"stir,cook\na.mp4,5,9,fry,cook\n', "lines 2 to 3: no csv: a quote is not closed"),
        ('a.mp4,0,5,"stir,cook\na.mp4,5,9,"fry",cook\n', "lines 2 to 3: no csv: "),
        (
            'a.mp4,0,5,"stir,cook\na.mp4,5,9,fry",cook\n',
            "line 2: a quoted field reaches to line 3 and holds what looks",
        ),
        ('a.mp4,0,5,"stir" it,cook\n', "line 2: no csv: "),
        (f'a.mp4,0,5,"{"x" * (17 << 20)}",cook\n', "line 2: no csv: a field of over 16777216 characters"),
    ],
)
def test_no_row_is_swallowed(root, tmp_path, rows, message):
    with pytest.raises(ValueError, match="--manifest .*m.csv: ") as caught:
        _one(root, tmp_path / "m.csv", f"video_path,start,end,caption,label\n{rows}".encode())
    assert message in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("x" * (17 << 20), "line 1: no csv: a field of over"),
        ("video_path,start,end,start\n", "line 1: column 'start' is there twice"),
        (
            "video_path|start|end\n",
            "no column video_path, start, end; the header is 'video_path|start|end', separated by",
        ),
        ("x," * 10_000, "no column video_path, start, end; the header is 'x', 'x', "),
    ],
)
def test_a_header_that_is_none_is_shown(root, tmp_path, header, message):
    with pytest.raises(ValueError) as caught:
        _one(root, tmp_path / "m.csv", header.encode())
    assert message in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('"labels": ["cook"]', "unknown key 'labels'; a row has video_path, start, end, caption, label, captions"),
        ('"text": "stir"', "unknown key 'text'"),
        ('"caption": ["beat", "eggs"]', 'caption must be a text, not ["beat", "eggs"]'),
        ('"caption": 5', "caption must be a text, not 5"),
        ('"caption": true', "caption must be a text, not true"),
        ('"captions": "stir"', 'captions must be a list of texts or of {text, start, end}, not "stir"'),
        ('"captions": [5]', "captions must be a list of texts or of {text, start, end}, not of 5"),
        ('"captions": [{"txt": "a"}]', "unknown key 'txt'; one of captions has text, start, end"),
        ('"captions": [{"text": 5}]', "text must be a text, not 5"),
        ('"label": true', "label must be a text or a list of texts, not true"),
        ('"label": [1.5]', "label must be a text or a list of texts, not 1.5"),
        ('"label": {}', "label must be a text or a list of texts, not {}"),
        ('"start": true', "start true is not a number"),
        ('"start": [1]', "start [1] is not a number"),
        ('"start": "1_0"', 'start "1_0" is not a number'),
        ('"start": 1e300', "start 1e+300 is not a time in seconds"),
        ('"start": 1, "start": 2', "the key 'start' is there twice"),
    ],
)
def test_no_key_is_passed_over(root, tmp_path, fields, message):
    data = f'{{"video_path": "a.mp4", {fields}}}\n{{"video_path": "a.mp4", "label": 0}}\n'.encode()
    inputs = _one(root, tmp_path / "m.jsonl", data)
    (rejection,) = inputs.rejections
    assert rejection.reason == "bad_row" and message in rejection.detail
    assert inputs.sources == [Source("a.mp4", (ClipSpec(labels=("0",)),))] and inputs.rows == 2
