import unicodedata

import pytest

from mmv_tf.beam.captions.sidecars import Sidecars, languages


def _of(video, *names, languages=(), videos=None):
    wanted, unwanted = Sidecars(names, videos or [video]).of(video, languages)
    return [one.name for one in wanted], [one.name for one in unwanted]


@pytest.mark.parametrize(
    "name",
    ["a.srt", "a.SRT", "a.Vtt", "a.mp4.srt", "a.en.vtt", "a.en-orig.srt", "a.pt-BR.vtt", "a.zh-Hans.srt", "a.eng.srt"]
    + [
        "a.english.srt",
        "a.en.sdh.srt",
        "a.en.forced.srt",
        "a.mp4.en.vtt",
        "A.srt",
        "a.auto.vtt",
        "a.en_US.default.srt",
    ],
)
def test_names_that_belong_to_a_video(name):
    assert _of("a.mp4", name) == ([name], [])


@pytest.mark.parametrize("name", ["ab.srt", "b.en.srt", "a.part one.srt", "a.1080p.srt", "a.txt", "a.en.de.fr.it.srt"])
def test_names_that_do_not(name):
    found = Sidecars([name], ["a.mp4"])
    assert found.of("a.mp4") == ([], []) and found.strangers == ([name] if name != "a.txt" else [])


def test_the_most_exact_video_has_it():
    videos = ["a.mp4", "a.en.mp4", "a.wav"]
    assert _of("a.mp4", "a.en.srt", videos=videos) == ([], [])
    assert _of("a.en.mp4", "a.en.srt", videos=videos) == (["a.en.srt"], [])
    assert [_of(video, "a.srt", videos=videos)[0] for video in videos] == [["a.srt"], [], ["a.srt"]]
    assert [_of(video, "a.mp4.srt", videos=videos)[0] for video in videos] == [["a.mp4.srt"], [], []]


def test_letters_of_a_mac():
    one, two = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    assert _of(f"{one}.mp4", f"{two}.srt") == ([f"{two}.srt"], [])
    assert _of(f"{two}.mp4", f"{one}.en.srt") == ([f"{one}.en.srt"], [])


def test_the_order_of_several():
    names = ["a.de.vtt", "a.en.vtt", "a.en-orig.srt", "a.srt", "a.vtt", "a.en.forced.srt", "a.en-GB.vtt", "a.cs.vtt"]
    best = ["a.srt", "a.vtt", "a.en.vtt", "a.en-GB.vtt", "a.en-orig.srt", "a.en.forced.srt", "a.cs.vtt", "a.de.vtt"]
    assert _of("a.mp4", *names) == (best, [])
    wanted, unwanted = _of("a.mp4", *names, languages=("de", "en"))
    assert wanted[:2] == ["a.de.vtt", "a.en.vtt"] and wanted[-2:] == ["a.srt", "a.vtt"] and unwanted == ["a.cs.vtt"]
    assert _of("a.mp4", "a.pt-BR.srt", "a.pt.srt", languages=("pt-br",)) == (["a.pt-BR.srt"], ["a.pt.srt"])


def test_languages_are_asked_for_as_files_name_them():
    assert languages("de, en,") == ("de", "en") and languages("") == ()
    assert languages("ENG,English,en,Deutsch,pt_BR,eng-US,en-orig,hi,swe") == tuple("en de pt-br en-us hi swe".split())
    for name in ("a.eng.srt", "a.English.srt", "a.EN.srt", "a.eng-US.srt"):
        assert _of("a.mp4", name, languages=languages("eng")) == ([name], [])
        assert _of("a.mp4", name, languages=languages("german")) == ([], [name])
    assert _of("a.mp4", "a.eng-US.srt", languages=languages("en_us")) == (["a.eng-US.srt"], [])


@pytest.mark.parametrize("text", ["klingon", "en de", "de,sdh", "e", "en;de", "*"])
def test_what_no_file_can_be_named_by_is_refused(text):
    with pytest.raises(ValueError, match="' is neither a code such as en or pt-BR nor one of the names english"):
        languages(text)
