"""The page of a folder of records: it stands alone, escapes what is from outside, and its figures are right."""

import collections
import html.parser
import re

import numpy as np
import pytest

from helpers import record_fixtures
from mmv_tf import inspect
from mmv_tf.inspection import show, statistics
from mmv_tf.inspection.checks import Expected, check
from mmv_tf.pages import jpeg
from mmv_tf.pages.charts import columns, rows
from mmv_tf.records import reader, schema, wire
from mmv_tf.records.card import DEAD_LETTERS, load
from mmv_tf.records.tfrecord import framed

EVIL = "<script>alert(1)</script>\"'&"


class Checker(html.parser.HTMLParser):
    """Every tag that opens closes; no address leads out of the page; no script."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], collections.Counter()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        assert tag != "script" and not any(name.startswith("on") for name, _ in attributes)
        assert all(value.startswith("data:") for name, value in attributes if name in ("src", "href"))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def folder(tmp_path):
    shards = [
        [
            record_fixtures.record("a/one.mp4:0-1.2", captions=("saw the wood", "glue")),
            record_fixtures.record("quiet", sound=False, captions=(), label=None),
        ],
        [
            record_fixtures.record(EVIL, captions=(EVIL, "saw"), num_frames=20),
            schema.Record("sound", "s.wav", 5.0, 7.0, waveform=np.zeros(2000, np.float32), sample_rate=1000),
        ],
    ]
    folder = tmp_path / "records"
    folder.mkdir()
    record_fixtures.write_shards(folder, shards)
    card = load(folder)
    card.splits["train"].counters = {"read": 9, "accepted": 4, "rejected": 5, "reasons": {"timeout": 2, EVIL: 3}}
    card.save(folder)
    return folder


def page(folder, tmp_path, *more):
    output = tmp_path / "page.html"
    assert inspect.cli(["show", str(folder), "--output", str(output), "--processes=1", *more]) == 0
    text = output.read_text()
    return text, Checker(text)


def test_the_page_stands_alone_and_tells_all(folder, tmp_path):
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("saw\nwood\n")
    text, checker = page(folder, tmp_path, "--vocabulary", str(vocabulary))
    assert "<h2>4 clips</h2>" in text and "4 clips, 0.00 hours" in text and "44 frames" in text
    assert text.count('class="card clip"') == 4
    assert checker.tags["audio"] == 2 + 1  # of silence, too
    assert text.count('<p class="missing">no frames</p>') == 1 and text.count('<p class="missing">no sound</p>') == 1
    assert text.count('<p class="missing">no narration</p>') == 2
    assert "5 of 9 clips read were rejected" in text
    # saw, wood, glue; script, alert, 1, script, saw: glue and the four of the hostile one are unknown.
    assert "5 of 8 words (62.50%) are not in the vocabulary of 2" in text
    assert "saw the wood" in text and "+0.0 to +1.0 s" in text and "3 name" in text
    assert "silent" in text and "48 x 40" in text


def test_chosen_clips(folder, tmp_path, capsys):
    text, _ = page(folder, tmp_path, "--key", "sound")
    assert text.count('class="card clip"') == 1 and "5 to 7 s of s.wav" in text
    assert page(folder, tmp_path, "--number", "2")[0].count('class="card clip"') == 2
    assert "2 clips, " in page(folder, tmp_path, "--max_shards", "1")[0]
    for more, said in (
        (["--key", "nothing"], "no clip with the key 'nothing' in 2 shards"),
        (["--split", "test"], "no split 'test'"),
        (["--number", "-1"], "--number"),
        (["--contains", "nothing"], "no clip of 4 has 'nothing' in key, file, narration or label"),
        (["--contains", "saw", "--key", "sound"], "--key and --contains"),
        (["--vocabulary", "nowhere.txt"], "nowhere.txt"),
    ):
        assert inspect.cli(["show", str(folder), "--output", str(tmp_path / "x.html"), "--processes=1", *more]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_clips_are_found_by_what_they_contain_and_say_of_how_many_they_are(folder, tmp_path):
    text, _ = page(folder, tmp_path, "--contains", "SAW")
    assert "<h2>2 clips with &#39;SAW&#39;</h2>" in text and "4 clips, 0.00 hours" in text
    one, _ = page(folder, tmp_path, "--contains", "saw", "--number=1")
    assert "<h2>1 of 2 clips with &#39;saw&#39;; --number" in one
    assert "<h2>2 of 4 clips; --number" in page(folder, tmp_path, "--number=2")[0]
    assert page(folder, tmp_path, "--contains", "s.wav")[0].count('class="card clip"') == 1


def test_a_clip_is_linked_to_its_film_below_the_folder_only(folder, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    (tmp_path / "outside.wav").touch()
    (videos / "s.wav").touch()
    output = tmp_path / "page.html"
    asked = ["show", str(folder), "--output", str(output), "--processes=1", "--videos", str(videos)]
    assert inspect.cli(asked) == 0
    assert re.findall('href="(.*?)"', output.read_text()) == [f"{(videos / 's.wav').as_uri()}#t=5,7"]
    for path in ("../outside.wav", str(tmp_path / "outside.wav"), "gone.wav", "a\0b"):
        record_fixtures.write_shards(folder, [[schema.Record("k", path, 0.0, 1.0)]])
        assert inspect.cli(asked) == 0 and "href=" not in output.read_text()


def test_a_damaged_record_is_on_the_page(folder, tmp_path):
    shard = folder / "train-00000-of-00002"
    data = bytearray(shard.read_bytes())
    data[40] ^= 4
    shard.write_bytes(data)
    text, _ = page(folder, tmp_path)
    assert "1 records cannot be read" in text and "the checksum of record 0 does not fit its content" in text
    assert "<h2>3 clips</h2>" in text


def test_remarks_are_on_the_page_whatever_stands_among_them(folder, tmp_path):
    card = load(folder)
    card.splits["train"].counters["remarks"] = {"ignored_file": 2}
    card.save(folder)
    line = '{"split": "train", "path": "%s", "key": "", "reason": "ignored_file", "detail": ".txt"}\n'
    others = '{"split": "train", "reason": ["ignored_file"]}\n[1]\nno JSON\n' + "[" * 100_000 + "\n"
    of_test = (line % "of_test.txt").replace('"train"', '"test"')
    (folder / DEAD_LETTERS).write_text(line % "a.txt" + others + of_test + line % "<b>.txt")
    text, _ = page(folder, tmp_path, "--split", "train")
    assert "2 files ignored: of no kind that is read" in text
    assert "<li>a.txt: .txt</li><li>&lt;b&gt;.txt: .txt</li>" in text and "of_test" not in text


def test_loudness_is_that_of_full_scale():
    sine = np.sin(np.arange(48000) * 2 * np.pi * 440 / 48000).astype(np.float32)
    assert statistics.loudness(sine) == pytest.approx(-3.0103, abs=1e-3)
    assert statistics.loudness(sine / 10) == pytest.approx(-23.0103, abs=1e-3)
    assert statistics.loudness(np.zeros(9, np.float32)) == -np.inf == statistics.loudness(np.zeros(0, np.float32))


def test_size_of_a_jpeg_by_its_header():
    data = record_fixtures.jpeg(10, 24, 32)
    assert jpeg.size(data) == (24, 32) == jpeg.decode(data).shape[:2]
    for broken, said in ((b"", "no JPEG"), (data[:-9], "cut off"), (b"\xff\xd8\xff\xd9", "without a size")):
        with pytest.raises(ValueError, match=said):
            jpeg.size(broken)
        with pytest.raises(ValueError, match=said):
            jpeg.decode(broken)
    huge = data.replace(b"\x08\x00\x18\x00\x20", b"\x08\xff\xff\xff\xff", 1)
    assert jpeg.size(huge) == (65535, 65535)
    with pytest.raises(ValueError, match="65535x65535 pixels, which is not decoded"):
        jpeg.decode(huge)


def test_bars_are_as_long_as_their_values():
    svg = rows([("a", 10), (EVIL, 5)], "things")
    assert [float(width) for width in re.findall(r'width="([\d.]+)" height="12"', svg)] == [300.0, 150.0]
    assert "<script" not in svg
    tall = [float(height) for height in re.findall(r'height="([\d.]+)" fill', columns([("1", 4), ("2", 1)], "n", "s"))]
    assert tall[0] == pytest.approx(4 * tall[1], rel=0.01)
    Checker(rows([], "nothing") + columns([], "nothing", "s"))


def test_a_clip_of_very_many_narrations_makes_no_large_page(tmp_path):
    (tmp_path / "records").mkdir()
    many = record_fixtures.record("many", captions=tuple(f"w{n}" for n in range(30_000)))
    record_fixtures.write_shards(tmp_path / "records", [[many, record_fixtures.record("few", captions=("a",))]])
    assert inspect.cli(["show", str(tmp_path / "records"), "--output", str(tmp_path / "p.html"), "--processes=1"]) == 0
    page = (tmp_path / "p.html").read_text("utf-8")
    assert len(page) < 1_000_000 and "and 29900 more narrations" in page


@pytest.mark.parametrize(("rate", "said"), [(np.inf, "inf"), (1e38, "1e+38"), (-5.0, "-5"), (0.0, "0")])
def test_sound_at_an_impossible_rate_is_told(tmp_path, rate, said):
    sound = {"WAVEFORM/feature/floats": [wire.float_feature([0.5, -0.5])]}
    data = wire.sequence_example({"WAVEFORM/feature/sample_rate": wire.float_feature([rate])}, sound)
    (tmp_path / "train-00000-of-00001").write_bytes(framed(data))
    assert f"sound at a sample rate of {said}" in page(tmp_path, tmp_path)[0]
    assert f"a sample rate of {said}" in list(check(reader.parse(data), Expected()))


def test_columns_are_few_and_lose_nothing():
    counter = collections.Counter({0: 3, 7: 2, 1_000_000: 1})
    made = show._in_columns(counter)
    assert len(made) == 30 and made[0] == ("0", 5) and made[-1][1] == 1 and sum(number for _, number in made) == 6
    assert show._in_columns(collections.Counter({2: 4, 4: 1}), 0) == [("0", 0), ("1", 0), ("2", 4), ("3", 0), ("4", 1)]
    assert show._in_columns(collections.Counter()) == [("0", 0)]
