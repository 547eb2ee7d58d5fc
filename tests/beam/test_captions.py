from mmv_tf.beam import captions
from mmv_tf.beam.captions import Counts, nearest
from mmv_tf.records.schema import MAX_CHARACTERS, Caption

SRT = """\ufeff1
00:00:01,500 --> 00:00:03,000
<i>Pour</i> the
batter

2
00:01:02,000 --> 00:01:04,250 X1:40
{\\an8}now  flip it

3
00:00:09,000 --> 00:00:08,000
backwards

4
00:00:xx,000 --> 00:00:08,000
no time
"""

VTT = """WEBVTT - title

NOTE not a caption

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start position:0%
hello <c.yellow>there</c>

01:00:00.000 --> 01:00:01.000
late
"""


def test_srt(tmp_path):
    path, counts = tmp_path / "a.srt", Counts()
    path.write_text(SRT.replace("\n", "\r\n"), "utf-8")
    assert captions.read(path, counts) == [Caption("Pour the batter", 1.5, 3.0), Caption("now flip it", 62.0, 64.25)]
    assert counts == Counts(dropped=2)


def test_vtt():
    counts = Counts()
    assert captions.parse(VTT, counts) == [Caption("hello there", 1.0, 2.5), Caption("late", 3600.0, 3601.0)]
    assert counts == Counts()


def test_hostile_text_is_bounded_and_counted(tmp_path):
    path, counts = tmp_path / "a.srt", Counts()
    path.write_bytes(b"1\n00:00:00,000 --> 00:00:01,000\nbad \xff\xfe\x00 bytes \xe2\x80\xae" + b"x" * 2_000_000)
    (caption,) = captions.read(path, counts)
    assert caption.text.startswith("bad \ufffd\ufffd bytes ") and len(caption.text) == MAX_CHARACTERS
    assert counts == Counts(replaced_characters=2, shortened=1)
    assert "\u202e" not in caption.text  # would turn the direction of what is printed after it


def test_utf16(tmp_path):
    path, counts = tmp_path / "a.srt", Counts()
    path.write_bytes("1\n00:00:00,000 --> 00:00:01,000\nüber\n".encode("utf-16"))
    assert captions.read(path, counts) == [Caption("über", 0.0, 1.0)]


def test_a_file_that_is_too_long_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(captions, "MAX_FILE_BYTES", 80)
    monkeypatch.setattr(captions, "MAX_CAPTIONS", 1)
    path, counts = tmp_path / "a.srt", Counts()
    path.write_text("00:00:00,000 --> 00:00:01,000\nx\n\n" * 10)  # 33 bytes each
    assert len(captions.read(path, counts)) == 1
    assert counts.dropped == 2  # one over the number, and the rest of the file


def test_beside(tmp_path):
    for name in ("a.mp4", "a.srt", "b.c.webm", "b.c.vtt", "d.mp4", "e.mp4", "e.mp4.vtt"):
        (tmp_path / name).touch()
    found = [captions.beside(tmp_path / name) for name in ("a.mp4", "b.c.webm", "d.mp4", "e.mp4")]
    assert [path and path.name for path in found] == ["a.srt", "b.c.vtt", None, "e.mp4.vtt"]


def test_nearest_in_time_first():
    spoken = [Caption(str(n), 10.0 * n, 10.0 * n + 4) for n in range(10)]
    # Clip 31 to 35 overlaps with caption 3 (30-34); then gaps: 4 (40-44) 5 s, 2 (20-24) 7 s.
    assert [c.text for c in nearest(spoken, 31.0, 35.0, 5, 7.0)] == ["3", "4", "2"]
    assert [c.text for c in nearest(spoken, 31.0, 35.0, 2, 100.0)] == ["3", "4"]
    assert nearest(spoken, 31.0, 35.0, 5, 0.0) == (spoken[3],)
    assert nearest(spoken, 500.0, 510.0, 5, 10.0) == ()
    # Of two that overlap the one whose middle is nearer; order of the input does not matter.
    two = [Caption("off", 0.0, 2.0), Caption("on", 0.0, 10.0)]
    assert [c.text for c in nearest(two, 0.0, 10.0, 5, 1.0)] == ["on", "off"]
    assert nearest(two[::-1], 0.0, 10.0, 5, 1.0) == nearest(two, 0.0, 10.0, 5, 1.0)


def test_a_caption_without_times_is_about_the_whole_clip():
    assert nearest([Caption("x", None, None)], 2.0, 5.0, 5, 0.0) == (Caption("x", 2.0, 5.0),)
