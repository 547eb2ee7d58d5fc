"""What is said at the end of a run, and what is not."""

import json
import time

import pytest

from mmv_tf.training import outlook


def _probe(share, count, chance, recall=5):
    way = "probe/retrieval/video_to_audio"
    return {f"{way}/R@{recall}": share, f"{way}/R@{recall}_chance": chance, f"{way}/clips": count}


def _said(shares, count, chance=0.02, recall=5, accuracy=0.3):
    probes = [(step * 10, _probe(share, count, chance, recall)) for step, share in enumerate(shares)]
    return outlook.sentences(500, 20.0, probes, {"accuracy/video_audio": accuracy}, 64)


def test_nothing_is_said_without_held_out_clips():
    assert outlook.sentences(72, 107.0, [], {}, 64) == [
        "trained on 72 clips, each seen 107 times",
        "nothing is known of how well it does on other clips: there are no held-out ones (Probe)",
    ]


def test_few_clips_are_too_few_to_tell():
    said = _said([0.04, 0.1, 0.17, 0.17], 23, chance=0.043, recall=1)
    assert said[1] == (
        "video -> audio: among the first 1 of 23 held-out clips 17% (95 %: 7% to 37%), chance 4%"
    )  # fmt: skip
    assert said[2] == "23 held-out clips are too few to read a learning curve from (4%, 10%, 17%, 17%)"
    assert _said([0.04, 0.1, 0.13], 23, chance=0.09, recall=1)[1].endswith("chance 9%, too few to tell from it")
    assert _said([0.0, 0.0, 0.0], 300, chance=0.02)[1].endswith("chance 2%, which it is below")


@pytest.mark.parametrize(
    ("shares", "accuracy", "words"),
    [
        ([0.02, 0.2, 0.3, 0.35, 0.42], 0.4, "it was still rising at the end (2%, 20%, 30%, 35%, 42%): more steps may"),
        ([0.02, 0.3, 0.4, 0.42, 0.42], 0.9, "no longer rises (2%, 30%, 40%, 42%, 42%), while 90% are found in a batch"),
        ([0.02, 0.3, 0.4, 0.42, 0.42], 0.3, "no longer rises (2%, 30%, 40%, 42%, 42%): whether more clips help is not"),
        ([0.02, 0.42], 0.3, "too few probes for a learning curve"),
    ],
)
def test_the_learning_curve(shares, accuracy, words):
    assert words in _said(shares, 400, accuracy=accuracy)[-1]


def test_a_curve_may_begin_late_in_the_run():
    probes = [(step, _probe(share, 400, 0.02)) for step, share in ((100, 0.02), (102, 0.3), (104, 0.31))]
    said = outlook.sentences(500, 20.0, probes, {"accuracy/video_audio": 0.3}, 64)
    assert said[-1].startswith("on held-out clips it no longer rises (2%, 30%, 31%)")


def test_a_curve_is_of_one_set_of_clips():
    """Earlier sittings may have probed others, of which another number of first ones counts."""
    ways = [_probe(share, 20, 0.05, recall=1) for share in (0.05, 0.1, 0.1, 0.1)]
    probes = [(100 * step, way) for step, way in enumerate([*ways, _probe(0.3, 400, 0.01)])]
    assert outlook.sentences(500, 20.0, probes, {}, 64)[-1] == (
        "too few probes for a learning curve (Probe.every); 4 earlier probes are left out, being of other pairs or "
        "numbers of clips"
    )
    probes = [probes[0], *((500 + step, _probe(share, 400, 0.01)) for step, share in enumerate((0.1, 0.3, 0.3)))]
    assert outlook.sentences(500, 20.0, probes, {}, 64)[-1] == (
        "on held-out clips it no longer rises (10%, 30%, 30%): whether more clips help is not to be seen from here; "
        "1 earlier probe is left out, being of other pairs or numbers of clips"
    )


def test_a_curve_is_of_one_measure():
    """Few clips have text, so that the first one alone counts there: then also where there are clips for five."""
    probes = []
    for step, share in enumerate((0.1, 0.2, 0.2)):
        found = _probe(0.5 + share, 400, 0.0125) | _probe(share, 400, 0.0025, recall=1)
        few = _probe(share + 0.2, 24, 0.04, recall=1)
        probes.append((step, found | {name.replace("to_audio", "to_text"): value for name, value in few.items()}))
    said = outlook.sentences(500, 20.0, probes, {}, 64)
    assert "among the first 5 of 400 held-out clips 70%" in said[1]
    assert "among the first 1 of 24 held-out clips 40%" in said[2]
    assert "no longer rises (20%, 30%, 30%)" in said[3]


def test_neighbours_are_heard_where_nothing_can_be_retrieved():
    """A network of one modality, as SimCLR's, and a probe of labelled clips alone."""
    probes = [
        (10 * step, {"probe/knn/video": share, "probe/knn/video_chance": 0.5, "probe/knn/video_clips": 400.0})
        for step, share in enumerate((0.5, 0.6, 0.7, 0.75, 0.81))
    ]
    said = outlook.sentences(500, 20.0, probes, {}, 64)
    assert said[1] == "video: neighbours tell the label of 400 held-out clips 81% (95 %: 77% to 85%), chance 50%"
    assert said[2].startswith("on held-out clips it was still rising at the end (50%, 60%, 70%, 75%, 81%)")
    # Beside retrieval it is said, too, and the curve is that of retrieval; as is that of a history without counts.
    both = [(step, scalars | _probe(0.1, 400, 0.02)) for step, scalars in probes]
    said = outlook.sentences(500, 20.0, both, {"accuracy/video_audio": 0.3}, 64)
    assert [line.partition(":")[0] for line in said[1:3]] == ["video", "video -> audio"]
    assert "no longer rises (10%, 10%, 10%, 10%, 10%)" in said[3]
    older = [(step, {name: scalars[name] for name in ("probe/knn/video",)}) for step, scalars in probes[:2]]
    assert "(70%, 75%, 81%)" in outlook.sentences(500, 20.0, [*older, *probes[2:]], {}, 64)[2]


def test_a_history_goes_over_sittings_and_forgets_what_is_made_again(tmp_path):
    history = outlook.History(str(tmp_path), 0)
    for step in (0, 10, 20):
        history.add(step, {"a": step / 2})
    again = outlook.History(str(tmp_path), 10)
    assert again.probes == [(0, {"a": 0.0}), (10, {"a": 5.0})]
    again.add(20, {"a": 1.0})
    assert json.loads((tmp_path / outlook.FILE).read_text())[2] == [20, {"a": 1.0}]
    assert outlook.History(str(tmp_path), 0).probes == []
    (tmp_path / outlook.FILE).write_text("[[0, {")
    with pytest.raises(ValueError, match="probes.json is damaged .*: take it away"):
        outlook.History(str(tmp_path), 10)


def test_the_table_is_for_people():
    summary = {
        "steps": 120, "seconds": 251.0, "steps_in_this_sitting": 60, "parameters": 1_273_064, "total_loss": 2.516,
        "accuracy/video_audio": 0.4, "accuracy/video_audio_reverse": 0.41, "spread/video/va": 0.05,
        "clips_per_second": 58.2, "input_wait": 0.05, "norm/audio/va": 3.0, "bad_records": ["x"],
    }  # fmt: skip
    assert [line.split("  ")[1] for line in outlook.table(summary, 64)] == [
        "steps", "time", "speed", "loss", "video -> audio", "spread video/va", "network", "left out",
    ]  # fmt: skip
    text = "\n".join(outlook.table(summary, 64))
    assert (
        "4 min" in text and "58 clips/s  5% of the time waiting" in text and "40%  of clips found among the 64" in text
    )


def test_the_names_of_views_stay_whole():
    summary = {"steps": 1, "seconds": 1.0, "steps_in_this_sitting": 1, "parameters": 1, "total_loss": 1.0}
    logged = {"accuracy/video_text": 0.5, "accuracy/video_r_audio_r_against_audio_own": 0.5}
    logged |= {"accuracy/video_audio_reverse": 0.5, "accuracy/video_audio_reverse_reverse": 0.5}  # of a view
    names = [line.split("  ")[1] for line in outlook.table(summary | logged, 64)]
    assert names[3:7] == [
        "video -> text", "video_r_audio_r_against_audio_own", "video_audio_reverse", "network"
    ]  # fmt: skip


def test_what_a_process_takes_is_told():
    began, before = time.process_time(), outlook.spent()
    while time.process_time() < began + 0.3:  # of processor time, so a busy machine does not change it
        pass
    after = outlook.spent()
    assert 1e8 < before["peak_memory"] <= after["peak_memory"] < 1e12
    assert 0.2 <= after["processor_seconds"] - before["processor_seconds"] < 30
    summary = {"steps": 1, "seconds": 1.0, "steps_in_this_sitting": 1, "parameters": 1, "total_loss": 1.0}
    told = outlook.table(summary | {"peak_memory": 2_400_000_000, "processor_seconds": 90.0}, 64)[-1]
    assert "2.4 GB  of memory at most, and 90 s of processors" in told
    assert "this process" not in "".join(outlook.table(summary, 64))
