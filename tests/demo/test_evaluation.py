"""From embeddings to results.json and page, on embeddings whose figures are known; the split of a user's files."""

import argparse
import json

import numpy as np
import pytest

from demo import manifest, report
from demo.evaluation import PAIRS, Clip, Evaluation, Sentence, space_of
from mmv_tf.pages import pictures

GAMES = ["a", "a", "b", "b"]
CLIPS = [Clip(n, f"{game}/0{n}.mp4", game, 3.2 * n, 3.2 * n + 3.2) for n, game in enumerate(GAMES)]
SENTENCES = [Sentence("about a", "a"), Sentence("about b", "b")]
EYE = np.eye(4)
GROUPS = np.repeat(np.eye(2), 2, axis=0)


def fac(right: bool):
    """Embeddings as of a FAC graph: all right, or video against audio and text reversed."""
    order = slice(None) if right else slice(None, None, -1)
    return {
        "video": {"va": EYE, "vat": GROUPS},
        "audio": {"va": EYE[order], "vat": GROUPS[order]},
        "text": {"vat": np.eye(2)[order]},
    }


def test_pairs_are_compared_in_the_space_that_is_theirs():
    assert [space_of(pair, fac(True)) for pair in PAIRS] == ["va", "va", "vat", "vat", "vat", "vat"]
    shared = {"video": {"s": EYE}, "audio": {"s": EYE}, "text": {"s": EYE}}
    assert space_of("audio->text", shared) == "s"
    disjoint = {"video": {"va": EYE, "vt": EYE}, "audio": {"va": EYE}, "text": {"vt": EYE}}
    assert space_of("audio->text", disjoint) is None


def test_results_by_hand():
    results = Evaluation({"trained": fac(True), "untrained": fac(False)}, CLIPS, SENTENCES).metrics()
    assert list(results) == list(PAIRS)
    for pair in PAIRS:
        assert set(results[pair]) == {"trained", "untrained", "chance"}
        assert results[pair]["trained"] == {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0, "MedR": 1.0}
    # Reversed: the right one ties with two wrong ones behind the best wrong one.
    assert results["video->audio"]["untrained"] == {"R@1": 0.0, "R@5": 1.0, "R@10": 1.0, "MedR": 4.0}
    assert results["text->video"]["untrained"]["MedR"] == 3.0  # behind the two clips of the other game
    assert results["video->audio"]["chance"]["R@1"] == 0.25
    assert results["text->audio"]["chance"]["R@1"] == 0.5


def test_clips_that_are_left_out_are_neither_queries_nor_targets():
    clips = [*CLIPS[:3], Clip(3, "b/03.mp4", "b", 0.0, 3.2, "silent")]
    evaluation = Evaluation({"trained": fac(True)}, clips, SENTENCES)
    assert evaluation.metrics()["video->audio"]["chance"]["R@1"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="1 of 2 held-out clips can be compared .left out: silent"):
        Evaluation({"trained": fac(True)}, clips[2:], SENTENCES)


def test_nan_is_named():
    broken = fac(True)
    broken["audio"]["va"] = np.full((4, 4), np.nan)
    with pytest.raises(ValueError, match="trained: embeddings of audio in va hold NaN"):
        Evaluation({"trained": broken}, CLIPS, SENTENCES)


def test_examples_are_of_different_games_and_repeatable():
    evaluation = Evaluation({"trained": fac(True)}, CLIPS, SENTENCES)
    examples = evaluation.examples("video->audio", 2, seed=1)
    assert examples == evaluation.examples("video->audio", 2, seed=1)
    assert len({CLIPS[index].group for index, _, _ in examples}) == 2
    for index, hits, rank in examples:
        assert hits[0] == index and rank == 1.0 and len(hits) == 4
    assert len(evaluation.examples("text->video", 9)) == 2


def test_report_writes_results_and_page(tmp_path, capsys):
    embeddings = tmp_path / "embeddings"
    embeddings.mkdir()
    arrays = {
        f"{model}/{modality}/{space}": rows
        for model, right in (("trained", True), ("untrained", False))
        for modality, spaces in fac(right).items()
        for space, rows in spaces.items()
    }
    np.savez(embeddings / "embeddings.npz", **arrays)
    clips = [vars(clip) | {"group": ""} for clip in CLIPS]
    about = {"clips": clips, "sentences": [vars(s) for s in SENTENCES], "curves": {"total_loss": [[0, 3.0], [5, 1.0]]}}
    (embeddings / "clips.json").write_text(json.dumps(about))
    for clip in CLIPS:
        stem = embeddings / f"{clip.number:04d}"
        stem.with_name(stem.name + ".strip.jpg").write_bytes(pictures.strip(np.zeros((3, 8, 8, 3), np.uint8)))
        stem.with_name(stem.name + ".sound.jpg").write_bytes(pictures.spectrogram(np.zeros(2048), 48_000))
        stem.with_name(stem.name + ".wav").write_bytes(pictures.wav(np.zeros(480), 48_000))
    settings = {"data": "games", "embeddings": str(embeddings), "fingerprints": "", "graph_svg": "", "summary": ""}
    report.main(argparse.Namespace(**settings, output=str(tmp_path), never_trained=["audio->text"]))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["audio->text"]["trained"] == {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0, "MedR": 1.0}
    text = (tmp_path / "index.html").read_text()
    assert "about a" in text and "a/00, 0.0 s" in text and "never trained together" in text and "polyline" in text
    assert "video->audio" in capsys.readouterr().out


def test_long_files_give_their_last_quarter():
    rows = manifest.split([("long.mp4", 60.0)], clip_seconds=3.0)
    assert rows["train"] == [
        {"video_path": "long.mp4", "start": start, "end": min(start + 10.0, 45.0)}
        for start in (0.0, 10.0, 20.0, 30.0, 40.0)
    ]
    assert rows["test"] == [
        {"video_path": "long.mp4", "start": 45.0, "end": 55.0},
        {"video_path": "long.mp4", "start": 55.0, "end": 60.0},
    ]


def test_of_short_files_every_fourth_is_held_out():
    files = [(f"{n}.mp4", 5.0) for n in range(8)] + [("broken.mp4", 0.0)]
    rows = manifest.split(files, clip_seconds=3.2)
    assert [row["video_path"] for row in rows["test"]] == ["3.mp4", "7.mp4"]
    assert {"video_path": "broken.mp4"} in rows["train"] and len(rows["train"]) == 7


def test_a_folder_without_videos_is_an_error_that_names_it(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SystemExit, match="no video file in it"):
        manifest.main(argparse.Namespace(videos=str(tmp_path), output=str(tmp_path / "out"), clip_seconds=3.2))
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(SystemExit, match="1 files of 0 s leave nothing to search in"):
        manifest.main(argparse.Namespace(videos=str(tmp_path), output=str(tmp_path / "out"), clip_seconds=3.2))


def test_few_clips_are_too_few_to_tell():
    rows = {"trained": {"R@1": 4 / 23}, "chance": {"R@1": 1 / 23}}
    assert report.how_sure({"video->audio": rows}, {"video->audio": 23}) == [
        "  video->audio  17% of 23 found first (95 %: 7% to 37%), chance 4%"
    ]
    rows = {"trained": {"R@1": 2 / 23}, "chance": {"R@1": 1 / 23}}
    (line,) = report.how_sure({"video->audio": rows}, {"video->audio": 23})
    assert line.endswith("9% of 23 found first (95 %: 2% to 27%), chance 4%: too few to tell")
