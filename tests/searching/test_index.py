import json
import os
import pathlib
import shutil
import types

import cv2
import numpy as np
import pytest

from helpers import tiny_export
from helpers.videos import write_video
from mmv_tf import search
from mmv_tf.beam.decoding.client import DecodeClient
from mmv_tf.searching import indexing, playing
from mmv_tf.searching.clips import Clips
from mmv_tf.searching.embedder import Embedder
from mmv_tf.searching.engines.two_stage import unit
from mmv_tf.searching.index import Index, Results
from mmv_tf.searching.selection import Filter
from mmv_tf.searching.store import Store


def _files(found):
    return [hit.file for hit in found.hits]


def test_windows_overlap_by_half_and_reach_the_end(made, embedder):
    assert made.report == indexing.Report(new=4, changed=0, moved=0, gone=0, same=0, unreadable=1)
    rows = made.index.store.rows("SELECT start, end FROM windows JOIN files f ON f.id = file WHERE path = 'a.mp4'")
    length = embedder.seconds
    starts = [start for start, _ in rows]
    np.testing.assert_allclose(np.diff(starts), length / 2, atol=0.11)
    assert starts[0] == 0 and abs(rows[-1][1] - 4.0) < 0.15 and all(end - start <= length + 1e-6 for start, end in rows)
    reasons = made.index.store.rows("SELECT path, reason FROM files WHERE reason != ''")
    assert [path for path, _ in reasons] == ["broken.mp4"] and reasons[0][1].startswith("not_a_video: ")
    kinds = dict(made.index.store.rows("SELECT path, kind FROM files"))
    assert kinds["sound.wav"] == "sound" and kinds["a.mp4"] == "video"


def test_a_moment_finds_itself_by_its_own_file(made):
    found = made.index.query(video=made.videos / "a.mp4", span=(0.0, made.index.embedder.seconds), within="video", k=3)
    assert _files(found)[0] == "a.mp4" and found.hits[0].score > 0.999
    assert found.hits[0].matched == ("picture",) and found.is_exact and found.hits[0].percentile > 80
    found = made.index.query(sound=made.videos / "sound.wav", within="audio", per_file=9)
    assert "sound.wav" in _files(found) and {way for hit in found.hits for way in hit.matched} == {"sound"}


def test_moments_of_a_file_are_distinct_and_few(made, asked):
    for per_file in (1, 2):
        found = made.index.query(vectors=asked, per_file=per_file, k=50)
        for file in set(_files(found)):
            spans = sorted((hit.start, hit.end) for hit in found.hits if hit.file == file)
            assert len(spans) <= per_file
            assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))


def test_words_are_found_as_words(made):
    found = made.index.query("batter", within="video")
    (hit,) = [hit for hit in found.hits if "words" in hit.matched]
    assert hit.file == "a.mp4" and hit.words == "Pour the batter" and hit.start <= 2.0 <= hit.end
    assert [hit.file for hit in made.index.query("SOUND wav").hits if "words" in hit.matched] == ["sound.wav"]


def test_a_long_text_is_sought_by_its_first_words_and_each_once(made):
    found = made.index.query(" ".join(f"w{n}" for n in range(1000)), within="video")
    assert "narrations and names of files are searched for the first 100 of 1000 words only" in found.notes
    found = made.index.query("sound wav " * 600)
    assert [hit.file for hit in found.hits if "words" in hit.matched] == ["sound.wav"]
    assert not any("words only" in note for note in found.notes)


class _Trained(Embedder):
    """The tiny module with biases, as training leaves them: a text without known words is not zero."""

    def vectors(self, modality, values):
        found = super().vectors(modality, values)
        if modality == "text":
            found = [{space: vector + np.float32(0.5) for space, vector in spaces.items()} for spaces in found]
        return found


def test_words_that_the_module_does_not_know_are_said_and_sought_as_words_alone(made):
    index = Index(made.index.store, _Trained(made.index.embedder.folder))
    for text, also in (("batter", {"a.mp4"}), ("zyx", set())):
        found = index.query(text, within="video")
        assert "no word of this text is in the vocabulary of the module" in found.notes
        assert {hit.file for hit in found.hits} == also
        assert {way for hit in found.hits for way in hit.matched} <= {"words"}
    found = index.query("a red ball", within="video")
    assert not any("vocabulary" in note for note in found.notes) and found.hits
    with pytest.raises(ValueError, match="no word of this text is in the vocabulary"):
        index.embedder.of_text("zyx")


class _Told(Embedder):
    """Gives files the vectors that it was told, and keeps what was asked for."""

    def of_file(self, kind, path, span=(0.0, None)):
        self.asked = [*getattr(self, "asked", ()), (kind, span)]
        random = np.random.default_rng(len(kind) + int(span[0]))
        names = ("audio",) if kind == "sound" else ("video", "audio")
        return {name: {"va": random.normal(size=16).astype(np.float32)} for name in names}


def test_what_is_asked_with_together_is_added_up_whatever_its_modality(made):
    index = Index(made.index.store, embedder := _Told(made.index.embedder.folder))
    every = {"within": "audio", "per_file": 99, "k": 99}

    def scores(**question):
        return {hit.id: hit.score for hit in index.query(**question, **every).hits}

    def agree(found, vector):
        expected = {n: float(unit(index._of_window(n)["audio"]["va"]) @ unit(vector)) for n in found}
        assert len(found) > 4 and found == pytest.approx(expected, abs=2e-4)

    sound, video = embedder.of_file("sound", "s", (7.0, 8.0)), embedder.of_file("video", "v", (2.0, 3.0))
    first = next(iter(scores(vectors=sound)))
    like = index._of_window(first)["audio"]["va"]
    weights = {"sound": 0.5, "video": 2.0, "like": 0.25}
    added = weights["sound"] * unit(sound["audio"]["va"]) + weights["like"] * unit(like)
    added += weights["video"] * (unit(video["video"]["va"]) + unit(video["audio"]["va"]))
    embedder.asked = []
    spans = {"sound": (7.0, 8.0), "video": (2.0, 3.0)}
    agree(scores(sound="s", video="v", span=spans, like=first, weights=weights), added)
    assert embedder.asked == [("sound", (7.0, 8.0)), ("video", (2.0, 3.0))]
    agree(scores(vectors=sound, video="v", span=(2.0, 3.0), like=first, weights=weights), added)
    # A weight of 0 leaves out the one and not the other, though both have sound.
    alone = unit(video["video"]["va"]) + unit(video["audio"]["va"])
    agree(scores(sound="s", video="v", span=spans, weights={"sound": 0.0}), alone)


def test_weights_of_any_size_are_a_ratio(made):
    vectors, every = {"video": {"va": np.arange(16, dtype=np.float32)}}, {"within": "video", "per_file": 99, "k": 99}
    first, *_, last = [hit.id for hit in made.index.query(vectors=vectors, **every).hits]

    def scores(**weights):
        found = made.index.query(vectors=vectors, like=first, unlike=last, weights=weights, **every)
        return {hit.id: hit.score for hit in found.hits}

    usual = scores(video=1.0, like=0.5, unlike=0.0)
    assert len(usual) > 4
    for factor in (1e308, 1e-308):
        assert scores(video=factor, like=factor / 2, unlike=0.0) == pytest.approx(usual, abs=2e-4)
    far = scores(unlike=1e300)
    assert far == pytest.approx(scores(unlike=1e6), abs=2e-4) and min(far.values()) < -0.99


def test_paths_may_be_bytes(made):
    asked = []
    embedder = types.SimpleNamespace(of_file=lambda kind, path, span: asked.append(path) or {})
    index = Index(made.index.store, embedder)
    for kind in ("image", "sound", "video"):
        with pytest.raises(ValueError, match="nothing is asked"):
            index.query(**{kind: b"/videos/\xc3\xa4\xff.mp4"})
    assert asked == ["/videos/ä\udcff.mp4"] * 3


def test_each_file_of_a_question_has_the_seconds_that_it_came_with(made, monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(Index, "query", lambda self, text, **more: asked.update(more) or Results([], 0, True, True, []))
    sound, video, at = made.videos / "sound.wav", made.videos / "a.mp4", tmp_path / "x@1-2"
    at.write_text("")
    for given, spans in (
        ([f"{sound}@1-2", f"{video}@0.5-3"], {"sound": (1.0, 2.0), "video": (0.5, 3.0)}),
        ([f"{sound}@1-2", str(video)], {"sound": (1.0, 2.0), "video": (0.0, None)}),
        ([str(at), f"{video}@0-1"], {"sound": (0.0, None), "video": (0.0, 1.0)}),
    ):
        assert search.cli(["query", "--index", str(made.folder), "--sound", given[0], "--video", given[1]]) == 1
        assert asked["span"] == spans


def test_pictures_likes_and_unlikes(made, asked, tmp_path):
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 40, np.uint8))
    assert {"picture"} == {way for hit in made.index.query(image=path, within="video").hits for way in hit.matched}
    first = made.index.query(vectors=asked, within="video").hits[0]
    like = made.index.query(like=first.id, within="video")
    assert first.id not in [hit.id for hit in like.hits] and like.hits
    far = like_all(made, first)[-1]
    both = made.index.query(like=first.id, unlike=far.id, within="video", per_file=99, k=99)
    before, after = (next(hit.score for hit in hits if hit.id == far.id) for hits in (like_all(made, first), both.hits))
    assert after < before
    with pytest.raises(ValueError, match="there is no moment 99999"):
        made.index.query(like=99999)


def like_all(made, first):
    return made.index.query(like=first.id, within="video", per_file=99, k=99).hits


def test_filters_pages_and_nothing_asked(made, asked):
    assert set(_files(made.index.query(vectors=asked, only=Filter(folder="sub")))) == {
        "sub/<img src=x onerror=alert(1)>.mkv"
    }
    assert set(_files(made.index.query(vectors=asked, only=Filter(name="und")))) == {"sound.wav"}
    assert set(_files(made.index.query(vectors=asked, only=Filter(name="%")))) == set()
    assert set(_files(made.index.query(vectors=asked, only=Filter(kind="sound")))) == {"sound.wav"}
    whole = made.index.query(vectors=asked, k=4)
    pages = [made.index.query(vectors=asked, k=2, offset=offset).hits for offset in (0, 2)]
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in whole.hits]
    with pytest.raises(ValueError, match="nothing is asked"):
        made.index.query("...")


def test_an_index_follows_its_folder(made, asked, embedder, tmp_path):
    videos, folder = shutil.copytree(made.videos, tmp_path / "v"), tmp_path / "i"
    store = Store(str(folder), *indexing.made_with(embedder, str(videos)))

    def update():
        return indexing.update(store, embedder, str(videos), progress=False)

    os.unlink(videos / "broken.mp4")
    assert update()[:5] == (3, 0, 0, 0, 0)
    index = Index(store, embedder)
    before = index.query(vectors=asked, within="video").hits[0]
    assert update()[:5] == (0, 0, 0, 0, 3)
    os.rename(videos / "a.mp4", videos / "sub/renamed.mp4")
    os.unlink(videos / "sound.wav")
    assert update()[:5] == (0, 0, 1, 1, 1)
    after = index.query(vectors=asked, within="video").hits[0]
    assert (after.id, after.file) == (before.id, "sub/renamed.mp4")  # the vectors went with it
    assert "sound.wav" not in _files(index.query("sound", k=50, per_file=99))
    write_video(videos / "sub/renamed.mp4", seconds=2, sound_codec=None)
    assert update()[:5] == (0, 1, 0, 0, 1)
    hits = index.query("renamed", within="both").hits
    assert {hit.matched for hit in hits if hit.file == "sub/renamed.mp4"} <= {
        ("picture",),
        ("picture", "words"),
        ("words",),
    }


def test_what_a_browser_plays(made, tmp_path):
    files = {
        "h264.mp4": ({}, True),
        "h264.mkv": ({"sound_codec": None}, True),
        "mpeg4.mp4": ({"codec": "mpeg4"}, False),
        "flac.mkv": ({"sound_codec": "flac"}, False),
        "vp8.webm": ({"codec": "libvpx", "sound_codec": "libopus"}, True),
        "yuv444.mp4": ({"pix_fmt": "yuv444p"}, False),
    }
    for name, (options, plays) in files.items():
        path = write_video(tmp_path / name, seconds=1, **options)
        expected = plays and not name.startswith("h264.mkv")
        assert playing.looked_at(str(path)) == ("video", expected), name
    assert playing.looked_at(str(made.videos / "sound.wav")) == ("sound", True)
    assert playing.looked_at(str(made.videos / "broken.mp4")) == ("video", False)


def test_the_command(made, capsys, tmp_path, monkeypatch):
    arguments = ["query", "--index", str(made.folder), "--text", "batter", "--in", "video"]
    assert search.cli([*arguments, "--json", "--cut", str(tmp_path / "cuts")]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)["results"]
    assert set(first) >= {"file", "start", "end", "score", "percentile", "matched", "cut"}
    assert playing.looked_at(first["cut"]) == ("video", True)
    assert search.cli(["query", "--index", str(tmp_path / "none"), "--text", "x"]) == 2
    assert "no index; make one with mmv_tf search index" in capsys.readouterr().err
    assert search.cli(["query", "--index", str(made.folder), "--sound", "nowhere.wav@1-2"]) == 2
    assert "--sound nowhere.wav: no such file" in capsys.readouterr().err
    other = shutil.copytree(tiny_export.export().module, tmp_path / "other")
    with open(other / "saved_model.pb", "ab") as file:
        file.write(b"\x22\x00")
    monkeypatch.setattr(search, "_index", search._index)
    arguments = ["index", str(made.videos), "--module", str(other), "--index", str(made.folder)]
    assert search.cli(arguments) == 2
    assert "was made with module" in capsys.readouterr().err


def test_cuts_of_long_names_are_written(monkeypatch, tmp_path):
    monkeypatch.setattr(Clips, "preview", lambda self, path, *span, height: path.encode())
    index = types.SimpleNamespace(store=types.SimpleNamespace(settings={"root": str(tmp_path)}))
    names = ["a" * 100, "видео " * 20, "a" + "動" * 80]
    hits = [types.SimpleNamespace(file=f"sub/{name}.mp4", start=1.5, end=2.0) for name in names]
    cuts = search._cut(index, hits, str(tmp_path / "cuts"))
    stems = ["a" * 80, ("видео " * 20)[:43], "a" + "動" * 26]
    assert [os.path.basename(cut) for cut in cuts] == [f"0{n}-{stem}-1.5.mp4" for n, stem in enumerate(stems, 1)]
    assert [pathlib.Path(cut).read_bytes().decode() for cut in cuts] == [hit.file for hit in hits]


def test_nearly_the_same_window_of_another_file_is_folded(made, asked):
    found = made.index.query(vectors=asked, within="video", per_file=1)
    (hit,) = found.hits  # the other film has the same grey pictures
    names = {hit.file, *hit.also_in}
    assert names == {"a.mp4", "sub/<img src=x onerror=alert(1)>.mkv"} and len(hit.also_in) == 1


def test_what_windows_share_is_decoded_once_and_is_what_it_would_be(made, embedder):
    client = DecodeClient(embedder.decoding)
    try:
        pieces = list(embedder.windows(client, str(made.videos / "a.mp4")))
    finally:
        client.close()
    together = list(embedder.inputs(pieces))
    assert [piece for piece, _ in together] == pieces and len(pieces) > 5
    assert {piece.shared for piece in pieces[1:]} == {embedder.clips.num_frames - embedder.clips.num_frames // 2}
    assert any("audio" in inputs for _, inputs in together[1:])
    for piece, inputs in together:
        ((_, alone),) = embedder.inputs([piece])
        assert inputs.keys() == alone.keys() >= {"video"}
        for modality, values in inputs.items():
            np.testing.assert_array_equal(values, alone[modality], err_msg=f"{modality} of {piece.start}")
