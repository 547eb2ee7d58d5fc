import time

import pytest

from mmv_tf.beam.captions import cues
from mmv_tf.beam.remarks import Remarks
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

NOTE
of two lines

REGION
id:fred
width:40%

2
01:00:00.000 --> 01:00:01.000
late
"""


def _parsed(text, **numbers):
    """Captions of a text, whose remarks have these numbers and no others."""
    remarks = Remarks()
    found = cues.parse(text, remarks)
    assert remarks.numbers == numbers
    return found


def _texts(text, **numbers):
    return [caption.text for caption in _parsed(text, **numbers)]


def test_srt(tmp_path):
    path, remarks = tmp_path / "a.srt", Remarks()
    path.write_text(SRT.replace("\n", "\r\n"), "utf-8")
    assert cues.read(path, remarks, "a.srt") == [
        Caption("Pour the batter", 1.5, 3.0),
        Caption("now flip it", 62.0, 64.25),
    ]
    assert remarks.numbers == {"caption_dropped": 2}
    assert [(line.path, line.detail) for line in remarks.lines] == [
        ("a.srt", "line 11: it ends at 8 s, before it begins"),
        ("a.srt", "line 15: no valid times"),
    ]


def test_vtt():
    assert _parsed(VTT) == [Caption("hello there", 1.0, 2.5), Caption("late", 3600.0, 3601.0)]


@pytest.mark.parametrize(
    ("times", "start", "end"),
    [
        ("00:00:01 --> 00:00:03", 1.0, 3.0),
        ("00:00:01, --> 00:00:03,", 1.0, 3.0),
        ("00:00:01,000 -> 00:00:03,000", 1.0, 3.0),
        ("00:00:01,000-->00:00:03,000", 1.0, 3.0),
        ("00:00:01,000 --&gt; 00:00:03,000", 1.0, 3.0),
        ("00:00:01,000 \u2013> 00:00:03,000", 1.0, 3.0),
        ("00:00:01:250 --> 00:00:03:5", 1.25, 3.5),
        ("00:00:01.000001 --> 00:00:03.123456", 1.000001, 3.123456),
        ("00: 00: 01,000 --> 00: 00: 03,000", 1.0, 3.0),
        ("-00:00:00,500 --> 00:00:03,000", 0.0, 3.0),
        ("\u221200:00:00,500 --> 00:00:03,000", 0.0, 3.0),
        ("100:00:01,000 --> 1234:00:03,5", 360001.0, 1234 * 3600 + 3.5),
        ("0:1,5 --> 75:00", 1.5, 4500.0),
        ("1:2 --> 1:3 line:0 align:middle", 62.0, 63.0),
    ],
)
def test_times_as_tools_write_them(times, start, end):
    assert _parsed(f"1\n{times}\npour\n") == [Caption("pour", start, end)]


@pytest.mark.parametrize("text", ["12:30 => 13:15 lunch", "12:30 -> 13:15", "1:30\u20132:30 => 3:15"])
def test_an_arrow_of_another_kind_is_text_where_times_have_their_own(text):
    whole = f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n\n2\n00:00:03,000 -> 00:00:04,000\nstir\n"
    assert _parsed(whole) == [Caption(text, 1.0, 2.0), Caption("stir", 3.0, 4.0)]  # the second mistyped
    assert _texts("0:01 => 0:02\npour\n0:03 => 0:04\nstir") == ["pour", "stir"]


@pytest.mark.parametrize("times", ["00:00:01,000 --> 999999999:00:00:00,000", "2777:46:41 --> 2777:46:42"])
def test_times_beyond_any_source_are_dropped(times):
    text = f"1\n{times}\npour\n\n2\n00:00:00,000 --> 2777:46:40,000\nstir\n"
    assert _parsed(text, caption_dropped=1) == [Caption("stir", 0.0, 1e7)]


@pytest.mark.parametrize(
    "times",
    ["00:00:01,000 --> ", "--> 00:00:03,000", "00:00:01,000 --> 00:00:0x", "1 --> 3", "00:00:01.0 --> 1:00:00:00:01"],
)
def test_what_looks_like_times_begins_a_caption_that_is_dropped(times):
    text = f"1\n00:00:00,000 --> 00:00:01,000\nstir\n\n2\n{times}\npour\n"
    assert _parsed(text, caption_dropped=1) == [Caption("stir", 0.0, 1.0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "WEBVTT\n\n00:01.000 --> 00:03.000\n\nbeat two eggs\nin a bowl\n\n00:07.0 --> 00:09.0\nheat\n",
            ["beat two eggs in a bowl", "heat"],
        ),  # fmt: skip
        (
            "1\n00:00:01,0 --> 00:00:03,0\npour the milk\n\ninto the bowl\n\n2\n00:00:04,0 --> 00:00:06,0\nbeat\n",
            ["pour the milk into the bowl", "beat"],
        ),  # fmt: skip
        (
            "1\r\r\n00:00:01,000 --> 00:00:03,000\r\r\npour\r\r\n\r\r\n2\r\r\n00:00:04,000 --> 00:00:06,000\r\r\nbeat",
            ["pour", "beat"],
        ),  # fmt: skip
        ("1\n\n00:00:01,0 --> 00:00:03,0\n\npour\n\n\n\n2\n\n00:00:04,0 --> 00:00:06,0\n\nbeat\n\n", ["pour", "beat"]),
        ("1\r00:00:01,0 --> 00:00:03,0\rpour\r\r2\r00:00:04,0 --> 00:00:06,0\rbeat", ["pour", "beat"]),
        # Neither numbers nor empty lines; numbers without empty lines; numbers that are words.
        ("00:00:01,0 --> 00:00:03,0\npour\n00:00:04,0 --> 00:00:06,0\nbeat", ["pour", "beat"]),
        ("00:00:01,0 --> 00:00:03,0\n10\n00:00:04,0 --> 00:00:06,0\n9\n", ["10", "9"]),
        (
            "1\n00:00:01,0 --> 00:00:03,0\npour\n2\n00:00:04,0 --> 00:00:06,0\nbeat\n3\n00:00:07,0 --> 00:00:08,0\n10",
            ["pour", "beat", "10"],
        ),  # fmt: skip
        (
            "1\n00:00:01,0 --> 00:00:03,0\n10\n\n2\n00:00:04,0 --> 00:00:06,0\n9\n\n7\n00:00:07,0 --> 00:00:08,0\n8\n",
            ["10", "9", "8"],
        ),  # fmt: skip
        ("1\n00:00:01,0 --> 00:00:03,0\npour\n\n2\n", ["pour"]),  # a file that breaks off
        ("0\n00:00:01,0 --> 00:00:03,0 pour the milk\n\n", ["pour the milk"]),
        ("1\n00:00:01,0 --> 00:00:03,0\nNOTE the milk\nSTYLE\n\nNOTE of the cook\nall\n", ["NOTE the milk STYLE"]),
        ("1\n00:00:01,0 --> 00:00:03,0\ngo --> there\n\n2\n00:00:04,0 --> 00:00:06,0\nbeat", ["go --> there", "beat"]),
    ],
)
def test_layouts(text, expected):
    assert _texts(text) == expected


def test_a_caption_without_words_takes_no_number_for_them():
    text = "1\n00:00:01,0 --> 00:00:03,0\n\n2\n00:00:04,0 --> 00:00:06,0\n3\n00:00:07,0 --> 00:00:08,0\nbeat"
    assert _texts(text, caption_dropped=2) == ["beat"]


def test_words_before_any_times_are_told():
    assert _texts("A film\nby someone\n\n1\n00:00:01,0 --> 00:00:03,0\npour\n", caption_dropped=1) == ["pour"]
    assert _texts("A film\n") == []


def test_rolling_captions_of_youtube():
    lines = ["hello and welcome", "to the show today", "we are going to", "pour the milk"]
    text, words = "WEBVTT\nKind: captions\nLanguage: en\n", [f" \n{lines[0].replace(' ', '<00:00:00.500><c> ', 1)}</c>"]
    for before, line in zip(lines, lines[1:], strict=False):
        words += [f"{before}\n ", f"{before}\n{line.replace(' ', '<00:00:01.000><c> ', 1)}</c>"]
    words.append(f"{lines[-1]}\n ")
    for number, shown in enumerate(words):
        start, end = number // 2 * 2 + number % 2 * 1.99, number // 2 * 2 + 1.99 + number % 2 * 0.01
        text += f"\n00:00:{start:06.3f} --> 00:00:{end:06.3f} align:start position:0%\n{shown}\n"
    found = _parsed(text, caption_repeated=4)
    assert [caption.text for caption in found] == lines
    assert [caption.start for caption in found] == [0.0, 2.0, 4.0, 6.0]


def test_what_is_not_valid_text_is_named(tmp_path):
    path, remarks = tmp_path / "a.srt", Remarks()
    times = "1\n00:00:00,000 --> 00:00:01,000\n"
    path.write_bytes((times + "über ").encode() + b"\xff\xfe" + " äöü ".encode() + b"\xe2\x80\xae" + b"x" * 2_000_000)
    (caption,) = cues.read(path, remarks, "a.srt")
    assert caption.text.startswith("über \ufffd\ufffd äöü ") and len(caption.text) == MAX_CHARACTERS
    assert [line.detail.partition(":")[0] for line in remarks.lines] == ["line 2"] * 2
    assert remarks.numbers == {"caption_mended": 3}  # two characters, and the length
    assert "\u202e" not in caption.text  # would turn the direction of what is printed after it


def test_a_file_that_is_too_long_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(cues, "MAX_FILE_BYTES", 80)
    monkeypatch.setattr(cues, "MAX_CAPTIONS", 1)
    path, remarks = tmp_path / "a.srt", Remarks()
    path.write_text("00:00:00,000 --> 00:00:01,000\nx\n\n" * 10)  # 33 bytes each
    assert len(cues.read(path, remarks, "a.srt")) == 1
    assert remarks.numbers == {"caption_dropped": 2}  # one over the number, and the rest of the file


def _grows_evenly(text_of):
    """Whether ten times the text takes about ten times the processor time: a hundred times, if it were quadratic."""
    before = None
    for length in (10**4, 10**5, 10**6):
        text, began = text_of(length), time.process_time()
        cues.parse(text, Remarks())
        spent = time.process_time() - began
        if before is not None and spent > 40 * before:
            return False
        before = spent
    return True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<", "<"),
        ("{\\", "{\\"),
        ("0", "0"),
        ("-->", "-->"),
        (" ", ""),
        ("1:2 ", "1:2 "),
        ("00:00:00,000 --> ", "--> 00:00:00,000 "),
        ("&#39", "&#39"),
        ("\n \t", ""),
        ("<rt>", ""),
        ("<v ", "<v "),
        ("1:2\n3\n\n", "1:2 3 "),
    ],
)
def test_hostile_texts(text, said):
    def in_words(length):
        return f"1\n00:00:00,000 --> 00:00:01,000\n{text * (length // len(text))}\n"

    def as_times(length):
        return f"{text * (length // len(text))} --> {text * (length // len(text))}"

    are_times = text.startswith("00:00")
    captions = (
        [Caption((said * MAX_CHARACTERS)[:MAX_CHARACTERS].strip(), 0.0, 0.0 if are_times else 1.0)] if said else []
    )
    dropped = {"caption_dropped": 1} if are_times or not said else {}
    mended = {"caption_mended": 1} if said else {}  # its length
    assert _parsed(in_words(10**5), **dropped, **mended) == captions
    assert cues.parse(as_times(10**5), Remarks()) == (captions if are_times else [])
    for text_of in (in_words, as_times):
        assert any(_grows_evenly(text_of) for _ in range(3))  # whatever else happens in one of them


def test_captions_of_very_many_lines():
    def text_of(length):
        lines = "a b\n" * (length // 8)
        return f"1\n00:00:00,000 --> 00:00:01,000\n{lines}2\n00:00:01,000 --> 00:00:02,000\n{lines}"

    said = ("a b " * MAX_CHARACTERS)[:MAX_CHARACTERS].strip()
    assert _parsed(text_of(10**5), caption_mended=2) == [Caption(said, 0.0, 1.0), Caption(said, 1.0, 2.0)]
    assert any(_grows_evenly(text_of) for _ in range(3))
