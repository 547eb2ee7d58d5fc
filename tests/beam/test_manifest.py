import json
import os

import pytest

from helpers import watch
from helpers.traversals import traversals
from mmv_tf.beam import manifest
from mmv_tf.beam.specs import ClipSpec, Source
from mmv_tf.records.schema import Caption


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "videos"
    (root / "sub").mkdir(parents=True)
    for name in ("a.mp4", "sub/b.mkv", "c.wav"):
        (root / name).write_bytes(b"x")
    (tmp_path / "outside.mp4").write_bytes(b"x")
    return root


def _csv(tmp_path, text):
    path = tmp_path / "m.csv"
    path.write_text(text)
    return path


def _reasons(inputs):
    return [(rejection.path, rejection.reason) for rejection in inputs.rejections]


def test_folder(root):
    (root / "a.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n")
    (root / "readme.txt").write_text("x")
    os.symlink("../outside.mp4", root / "link.mp4")
    os.symlink("a.mp4", root / "sub" / "dangling.mp4")
    inputs = manifest.from_folder(root)
    assert list(inputs.sources) == [
        Source("a.mp4", (ClipSpec(captions=(Caption("hello", 1.0, 2.0),)),)),
        Source("c.wav", (ClipSpec(),)),
        Source("link.mp4", (ClipSpec(),)),  # refused where it is opened
        Source("sub/b.mkv", (ClipSpec(),)),
        Source("sub/dangling.mp4", (ClipSpec(),)),
    ]
    assert inputs.rejections == [] and inputs.ignored_files == 1


def test_a_folder_is_read_while_its_sources_are(root):
    inputs = manifest.from_folder(root)
    sources = iter(inputs.sources)
    assert next(sources).path == "a.mp4"
    (root / "late.mp4").touch()  # the folder has been listed up to its subfolders only
    (root / "sub" / "late.mp4").touch()
    assert [source.path for source in sources] == ["c.wav", "sub/b.mkv", "sub/late.mp4"]


def test_captions_in_another_folder(root, tmp_path):
    words = "1\n00:00:01,000 --> 00:00:02,000\n"
    (tmp_path / "words/sub").mkdir(parents=True)
    (tmp_path / "words/sub/b.srt").write_text(words + "there")
    for name in ("sub/b.srt", "a.srt"):
        (root / name).write_text(words + "beside")
    (tmp_path / "outside.srt").write_text(words + "outside")
    os.symlink(tmp_path, tmp_path / "words/link")  # below it lies outside.srt
    (root / "link").mkdir()
    (root / "link/outside.mp4").touch()
    found = {source.path: source.clips[0].captions for source in manifest.from_folder(root, tmp_path / "words").sources}
    assert found.pop("sub/b.mkv") == (Caption("there", 1.0, 2.0),)
    assert found.pop("a.mp4") == (Caption("beside", 1.0, 2.0),)
    assert found == {"c.wav": (), "link/outside.mp4": ()}
    with pytest.raises(ValueError, match="--captions .*nowhere: not a folder"):
        manifest.from_folder(root, tmp_path / "nowhere")


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


def test_rows_of_one_span_are_one_clip_whatever_their_order(root, tmp_path):
    rows = ["a.mp4,0,2,first,x", "a.mp4,0,2,second,y", "a.mp4,0.0,2.0,first,x"]
    results = []
    for order in (rows, rows[::-1]):
        inputs = manifest.from_manifest(_csv(tmp_path, "\n".join(["video_path,start,end,caption,label", *order])), root)
        assert inputs.joined_rows == 2
        results.append(inputs.sources)
    assert results[0] == results[1]
    (clip,) = results[0][0].clips
    assert [c.text for c in clip.captions] == ["first", "second"] and clip.labels == ("x", "y")


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("a.mp4,5,5,,", "bad_row", "line 2: end 5 is not after start 5"),
        ("a.mp4,x,5,,", "bad_row", "line 2: start 'x' is not a number"),
        ("a.mp4,nan,5,,", "bad_row", "line 2: start 'nan' is not a time"),
        ("a.mp4,-1,5,,", "bad_row", "line 2: start '-1' is not a time"),
        ("a.mp4,0,1e999,,", "bad_row", "line 2: end '1e999' is not a time"),
        (",0,5,,", "bad_row", "line 2: no video_path"),
        ("a.mp4,0,5,,,,", "bad_row", "line 2: more fields than columns"),
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
    file, why = manifest.confine(root, path)
    assert file is None and (why[0].value, why[1]) == (reason, detail)


def test_a_root_in_a_bucket(tmp_path):
    text = "video_path,start,end\na/b.mp4,0,5\n../c.mp4,0,5\n/d.mp4,0,5\n"
    inputs = manifest.from_manifest(_csv(tmp_path, text), "gs://bucket/videos")
    assert [source.path for source in inputs.sources] == ["a/b.mp4"]
    assert _reasons(inputs) == [("../c.mp4", "outside_root"), ("/d.mp4", "outside_root")]
    with pytest.raises(ValueError, match="gs://bucket: only a folder can be searched"):
        manifest.from_folder("gs://bucket")


def test_200_ways_out_of_the_root(root, tmp_path):
    paths = traversals()
    assert len(set(paths)) == 200
    (tmp_path / "videos2").mkdir()
    (tmp_path / "videos2/a.mp4").touch()
    file = tmp_path / "m.jsonl"
    file.write_text("".join(json.dumps({"video_path": path}) + "\n" for path in paths))
    with watch.opened() as opened:
        inputs = manifest.from_manifest(file, root)
        assert all(manifest.confine(root, path)[0] is None for path in paths)
    assert inputs.sources == [] and opened == [os.path.realpath(file)]
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
    assert len(inputs.sources[0].clips[0].captions[0].text) == 1000 and inputs.counts.shortened == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,start,end\na,0,1\n", "m.csv: no column video_path"),
        ("video_path,start\na,0\n", "m.csv: no column end"),
        ("video_path,start,end,captoin\na,0,1,x\n", "m.csv: unknown column captoin"),
        ("video_path,start,end\n", "m.csv: no row"),
        ("", "m.csv: no column video_path"),
    ],
)
def test_a_bad_manifest_is_one_line_that_names_it(root, tmp_path, text, message):
    with pytest.raises(ValueError) as caught:
        manifest.from_manifest(_csv(tmp_path, text), root)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_missing_inputs(root, tmp_path):
    with pytest.raises(ValueError, match="--videos .*nowhere: not a folder"):
        manifest.from_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no video or sound file"):
        manifest.from_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="m.csv: no such file"):
        manifest.from_manifest(tmp_path / "m.csv", root)
    (tmp_path / "m.txt").write_text("x")
    with pytest.raises(ValueError, match="m.txt: expected a file that ends in .csv or .jsonl"):
        manifest.from_manifest(tmp_path / "m.txt", root)


def test_a_folder_that_is_not_entered_is_counted(tmp_path, monkeypatch):
    (tmp_path / "root/locked").mkdir(parents=True)
    (tmp_path / "root/a.mp4").touch()
    (tmp_path / "root/linked").symlink_to(tmp_path / "root")
    scandir = os.scandir

    def refusing(path):  # permissions do not stop root, as whom tests may run
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    inputs = manifest.from_folder(tmp_path / "root")
    assert [source.path for source in inputs.sources] == ["a.mp4"]
    assert sorted(rejection[:1] + rejection[2:] for rejection in inputs.rejections) == [
        ("linked", "missing_file", "a link to a folder is not followed"),
        ("locked", "missing_file", "the folder cannot be read: Permission denied"),
    ]


def test_a_name_with_no_room_for_a_suffix(tmp_path):
    name = "n" * 251 + ".mp4"  # x.mp4.srt would be longer than a name may be
    (tmp_path / name).touch()
    assert [source.path for source in manifest.from_folder(tmp_path).sources] == [name]


def test_narrations_that_cannot_be_read_are_told_and_cost_the_video_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.srt").touch()

    def denied(path, counts):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(manifest.captions_lib, "read", denied)
    inputs = manifest.from_folder(tmp_path)
    assert list(inputs.sources) == [Source("a.mp4", (ClipSpec(),))]
    assert [(r.path, r.reason) for r in inputs.rejections] == [("a.mp4", "missing_file")]
    assert inputs.rejections[0].detail == "its narrations a.srt, not the video: Permission denied"
