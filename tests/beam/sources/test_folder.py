import os

import pytest

from mmv_tf.beam.captions import cues
from mmv_tf.beam.sources import folder
from mmv_tf.beam.specs import ClipSpec, Source
from mmv_tf.records.schema import Caption


def test_folder(root):
    (root / "a.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n")
    (root / "readme.txt").write_text("x")
    os.symlink("../outside.mp4", root / "link.mp4")
    os.symlink("a.mp4", root / "sub" / "dangling.mp4")
    inputs = folder.from_folder(root)
    assert list(inputs.sources) == [
        Source("a.mp4", (ClipSpec(captions=(Caption("hello", 1.0, 2.0),)),)),
        Source("c.wav", (ClipSpec(),)),
        Source("link.mp4", (ClipSpec(),)),  # refused where it is opened
        Source("sub/b.mkv", (ClipSpec(),)),
        Source("sub/dangling.mp4", (ClipSpec(),)),
    ]
    assert inputs.rejections == [] and inputs.remarks.numbers == {"ignored_file": 1}


def test_a_folder_is_read_while_its_sources_are(root):
    inputs = folder.from_folder(root)
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
    found = {source.path: source.clips[0].captions for source in folder.from_folder(root, tmp_path / "words").sources}
    assert found.pop("sub/b.mkv") == (Caption("there", 1.0, 2.0),)
    assert found.pop("a.mp4") == (Caption("beside", 1.0, 2.0),)
    assert found == {"c.wav": (), "link/outside.mp4": ()}
    with pytest.raises(ValueError, match="--captions .*nowhere: not a folder"):
        folder.from_folder(root, tmp_path / "nowhere")


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
    inputs = folder.from_folder(tmp_path / "root")
    assert [source.path for source in inputs.sources] == ["a.mp4"]
    assert sorted(rejection[:1] + rejection[2:] for rejection in inputs.rejections) == [
        ("linked", "missing_file", "a link to a folder is not followed"),
        ("locked", "missing_file", "the folder cannot be read: Permission denied"),
    ]


def test_a_name_with_no_room_for_a_suffix(tmp_path):
    name = "n" * 251 + ".mp4"  # x.mp4.srt would be longer than a name may be
    (tmp_path / name).touch()
    assert [source.path for source in folder.from_folder(tmp_path).sources] == [name]


def test_narrations_that_cannot_be_read_are_told_and_cost_the_video_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.srt").touch()

    def denied(path, remarks, shown):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cues, "read", denied)
    inputs = folder.from_folder(tmp_path)
    assert list(inputs.sources) == [Source("a.mp4", (ClipSpec(),))]
    assert inputs.rejections == []
    (line,) = inputs.remarks.lines
    assert line[::2] == ("a.srt", "unused_captions") and line.detail == "cannot be read: Permission denied"


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("1\n00:00:01,000 --> 00:00:02,000\n" + name if name.endswith(("srt", "vtt")) else "")


def test_every_file_of_captions_is_used_or_named(tmp_path):
    root, words = tmp_path / "videos", tmp_path / "words"
    root.mkdir(), words.mkdir()
    _touch(root, "a.mp4", "a.en.vtt", "a.de.srt", "b.mp4", "b.vtt", "lost.en.srt", "a.ass", "x/c.mp4", "notes.txt")
    _touch(words, "b.mp4.srt", "x/c.srt", "y/d.srt", "other.vtt")
    (root / "b.srt").write_text("WEBVTT\n\n00:01.000\n")
    inputs = folder.from_folder(root, words)
    found = {source.path: [caption.text for caption in source.clips[0].captions] for source in inputs.sources}
    assert found == {"a.mp4": ["a.en.vtt"], "b.mp4": ["b.mp4.srt"], "x/c.mp4": ["x/c.srt"]}
    assert sorted((line.path, line.reason, line.detail) for line in inputs.remarks.lines) == [
        ("--captions other.vtt", "unused_captions", "no video or sound of this name"),
        ("--captions y/d.srt", "unused_captions", "no video or sound of this name"),
        ("a.ass", "unused_captions", "not a format that is read: make it .srt or .vtt"),
        ("a.de.srt", "unused_captions", "a.en.vtt is taken for a.mp4"),
        ("b.srt", "unused_captions", "--captions b.mp4.srt is taken for b.mp4"),
        ("b.vtt", "unused_captions", "--captions b.mp4.srt is taken for b.mp4"),
        ("lost.en.srt", "unused_captions", "no video or sound of this name"),
        ("notes.txt", "ignored_file", ".txt: neither video, sound nor narration"),
    ]


def test_languages_that_are_asked_for(tmp_path):
    _touch(tmp_path, "a.mp4", "a.en.vtt", "a.de.srt", "b.mp4", "b.en.vtt", "c.mp4", "c.srt")
    inputs = folder.from_folder(tmp_path, languages=("de",))
    found = {source.path: [caption.text for caption in source.clips[0].captions] for source in inputs.sources}
    assert found == {"a.mp4": ["a.de.srt"], "b.mp4": [], "c.mp4": ["c.srt"]}
    assert {line.path: line.detail for line in inputs.remarks.lines} == {
        "a.en.vtt": "in 'en', which --caption_languages does not name",
        "b.en.vtt": "in 'en', which --caption_languages does not name",
    }


def test_a_folder_of_captions_among_the_videos(tmp_path):
    _touch(tmp_path, "a.mp4", "words/a.srt")
    inputs = folder.from_folder(tmp_path, tmp_path / "words")
    assert [source.clips[0].captions[0].text for source in inputs.sources] == ["words/a.srt"]
    assert inputs.remarks.lines == []


def test_names_that_are_no_text_stay_apart(tmp_path):
    for name in (b"caf\xe9.mp4", b"caf\xea.mp4"):
        (tmp_path / os.fsdecode(name)).touch()
    inputs = folder.from_folder(tmp_path)
    assert list(inputs.sources) == []
    assert [rejection.path for rejection in inputs.rejections] == ["caf\\xe9.mp4", "caf\\xea.mp4"]


def test_suffixes_that_the_decoder_reads(tmp_path):
    names = sorted(f"a{suffix}" for suffix in (".wma", ".m4b", ".DIVX", ".f4v", ".aiff", ".amr", ".dv", ".mp2", ".m2v"))
    _touch(tmp_path, *names)
    assert [source.path for source in folder.from_folder(tmp_path).sources] == names
