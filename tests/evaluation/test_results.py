"""Results: baselines are a condition, outcomes survive the file, comparisons tell noise from difference."""

import functools
import json
import re

import numpy as np
import pytest
import scipy.stats

from mmv_tf.evaluation import results
from mmv_tf.metrics import intervals
from mmv_tf.metrics.classification import Measure

TOP1 = Measure("top1", "top1", "mean")
FAST = {"samples": 300}


def _result(right=0.8, items="a", seed=0, kind="LinearVideo", size=400):
    rs = np.random.default_rng(seed)
    rows = {name: {"top1": [rs.random(size) < share]} for name, share in (("network", right), ("untrained", 0.3))}
    rows = {name: results.make_row([TOP1], outcomes, **FAST) for name, outcomes in rows.items()}
    rows["network"]["against_untrained"] = results.compare_rows(rows["untrained"], rows["network"], TOP1, **FAST)
    chance = results.make_chance([TOP1], {"top1": [np.zeros(size, bool)]}, "nothing known")
    network = rows.pop("network")
    return {
        "schema": 1,
        "protocol": "ucf101",
        "dataset": "UCF101",
        "metric": "top1",
        "value": network["measures"]["top1"]["value"],
        "unit": "%",
        "interval": network["measures"]["top1"]["interval"],
        "n": {"test": size, "classes": 4, "items": items},
        "measures": {"top1": {"outcome": "top1", "summary": "mean"}},
        "network": {"workdir": "runs/fac", **network},
        "baselines": {"chance": chance, "raw": rows["untrained"], "untrained": rows["untrained"]},
        "folds": [{"name": "test", "train": 10, "test": size}],
        "settings": {"class": kind},
        "gin": "",
        "versions": {},
        "command": "",
    }


@pytest.mark.parametrize("baseline", ["chance", "untrained", "raw"])
def test_without_a_baseline_nothing_is_written_or_shown(baseline, tmp_path):
    result = _result()
    del result["baselines"][baseline]
    for use in (results.validate, results.table, lambda r: results.write(str(tmp_path / "r.json"), r)):
        with pytest.raises(ValueError, match=f"lacks the baseline '{baseline}'"):
            use(result)
    assert not list(tmp_path.iterdir())


def test_a_baseline_without_a_value_is_none():
    result = _result()
    result["baselines"]["raw"] = {"measures": {"top1": {"value": float("nan")}}}
    with pytest.raises(ValueError, match="its baseline 'raw' lacks 'top1'"):
        results.validate(result)
    result["baselines"]["raw"] = {"not_possible": "too lazy"}  # only fresh weights can be out of reach
    with pytest.raises(ValueError, match="its baseline 'raw' lacks 'top1'"):
        results.validate(result)


def test_fresh_weights_that_cannot_be_had_are_said(tmp_path):
    result = _result()
    result["baselines"]["untrained"] = {"not_possible": "the module has no configuration"}
    results.write(str(tmp_path / "r.json"), result)
    assert "untrained: the module has no configuration" in results.table(results.read(str(tmp_path / "r.json")))


def test_retrieval_needs_no_raw_features():
    result = _result(kind="ZeroShotRetrieval")
    del result["baselines"]["raw"]
    results.validate(result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "newer than 1"),
        ({"metric": "top9"}, "'top9' is none of its measures"),
        ({"network": {"measures": {}}}, "lacks a value of 'top1'"),
    ],
)
def test_a_wrong_file_is_named(change, message, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(_result() | change))
    with pytest.raises(ValueError, match=f"r.json: .*{message}"):
        results.read(str(path))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("network.outcomes", None, "bad outcomes of 'top1'"),
        ("network.outcomes", ..., "bad outcomes of 'top1': KeyError('outcomes')"),
        ("network.outcomes.top1", [None], "bad outcomes of 'top1'"),
        ("network.outcomes.top1", ["bool:9:eJw="], "bad outcomes of 'top1'"),
        ("network.outcomes.top1", [], "bad outcomes of 'top1': ValueError('there are none')"),
        ("network.groups", {"top1": [results.pack(np.arange(3))]}, "their groups are of other items"),
        ("network.measures.top1.interval", True, "'network.measures.top1.interval' cannot be True"),
        ("network.measures.top1.interval.low", ..., "'network.measures.top1.interval.low' is missing"),
        ("network.seeds", None, "'network.seeds' cannot be None"),
        ("network.against_untrained", "x", "'network.against_untrained' cannot be 'x'"),
        ("network.against_untrained.low", ..., "'network.against_untrained.low' is missing"),
        ("network.against_untrained.difference", 10**400, "'network.against_untrained.difference' cannot be 1000"),
        ("baselines.more", {"measures": {}}, "its baseline 'more' lacks 'top1'"),
        ("measures.top1.summary", "recall@x", "bad outcomes of 'top1'"),
        ("notes", ["a", 1], "'notes.1' cannot be 1"),
        ("changed", {"seed": [0]}, "'changed.seed' cannot be [0]"),
    ],
)
def test_what_is_missing_or_damaged_inside_is_named(place, value, message, tmp_path):
    result, path = json.loads(json.dumps(_result())), tmp_path / "r.json"
    *parents, last = place.split(".")
    inner = functools.reduce(lambda part, key: part[key], parents, result)
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    path.write_text(json.dumps(result))
    with pytest.raises(ValueError, match=rf"r.json: the result of ucf101: .*{re.escape(message)}"):
        results.read(str(path))


def test_a_file_of_brackets_is_named(tmp_path):
    (tmp_path / "r.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="r.json: .*recursion"):
        results.read(str(tmp_path / "r.json"))


def test_a_result_may_have_empty_parts_and_none_of_later_versions(tmp_path):
    result = _result() | {"control": {}, "left_out": {}, "changed": {}, "examples": [], "notes": []}
    results.write(str(tmp_path / "r.json"), result)
    for key in ("control", "left_out", "changed", "examples", "notes"):
        del result[key]
    del result["network"]["seeds"], result["network"]["against_untrained"]
    results.write(str(tmp_path / "r.json"), result)
    assert results.read(str(tmp_path / "r.json"))["value"] == result["value"]


def test_a_table_shows_value_interval_and_baselines():
    result = _result() | {"left_out": {"test: no video": 3, "test: no label": 0}}
    lines = results.table(result).splitlines()
    assert lines[0].split() == ["network", "chance", "raw", "untrained"]
    low, high = (f"{result['interval'][end]:.1f}" for end in ("low", "high"))
    assert lines[1].startswith(f"top1  {result['value']:.1f} ({low} to {high})  0.0 ")
    assert "outside noise" in lines[-2] and lines[-1] == "left out: test: no video 3"


def test_settings_that_are_not_those_of_the_protocol_are_told():
    usual = {"class": "A", "records": "x", "variant": "", "classifier": {"class": "LinearSVM", "C": 0.1}, "seed": 0}
    used = {**usual, "records": "y", "variant": "naive", "classifier": {"class": "LinearSVM", "C": 1.0}, "seed": 2}
    changed = results.settings_apart(usual, used)
    assert changed == {"classifier.C": [0.1, 1.0], "seed": [0, 2]}
    last = results.table(_result() | {"changed": changed}).splitlines()[-1]
    assert last == "not the protocol of gin/evals/ucf101.gin: classifier.C = 1.0 (not 0.1), seed = 2 (not 0)"
    assert "not the protocol" not in results.table(_result() | {"changed": {}})


@pytest.mark.parametrize(
    "outcomes", [np.array([True, False, True] * 7), np.array([1, 70_000, 3], np.uint32), np.array([0.5, 0.25])]
)
def test_outcomes_survive_packing(outcomes):
    found = results.unpack(results.pack(outcomes))
    np.testing.assert_array_equal(found, outcomes)
    assert (found.dtype == bool) == (outcomes.dtype == bool)


def test_a_thousand_outcomes_take_little_room():
    assert len(results.pack(np.random.default_rng(0).random(8000) < 0.9)) < 1500


def test_comparing_tells_noise_from_difference():
    same, better = _result(0.8), _result(0.9, seed=5)
    assert results.compare(same, same, **FAST)["difference"] == 0
    found = results.compare(same, better, **FAST)
    assert found["outside_noise"] and found["low"] > 0
    # A hundredth of the clips is within what 400 clips can tell, drawn independently.
    assert not results.compare(_result(0.80, seed=1), _result(0.81, seed=2), **FAST)["outside_noise"]


def test_what_was_measured_on_other_clips_is_not_compared():
    with pytest.raises(ValueError, match="not measured on the same clips"):
        results.compare(_result(), _result(items="b"))
    with pytest.raises(ValueError, match="has no measure 'mAP'"):
        results.compare(_result(), _result(), "mAP")


def test_interval_over_folds_is_that_of_scipy():
    values = [84.1, 85.0, 86.3]
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert intervals.over_folds(values) == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="at least 2"):
        intervals.over_folds([1.0])


def test_bootstrap_agrees_with_that_of_scipy():
    right = np.random.default_rng(3).random(500) < 0.7
    low, high = intervals.bootstrap(TOP1, [right], samples=4000)
    expected = scipy.stats.bootstrap((100.0 * right,), np.mean, method="percentile", n_resamples=4000, rng=1)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=0.5)


def test_paired_bootstrap_sees_what_an_unpaired_one_does_not():
    # The second is right wherever the first is, and on 20 of 1,000 clips more.
    first = np.random.default_rng(0).random(1000) < 0.5
    second = first.copy()
    second[np.flatnonzero(~first)[:20]] = True
    difference, low, high = intervals.paired_difference(TOP1, [first], [second])
    assert difference == pytest.approx(2.0) and 1.0 < low < 2.0 < high < 3.2
    wide = [intervals.bootstrap(TOP1, [side]) for side in (first, second)]
    assert wide[0][1] > wide[1][0]
    with pytest.raises(ValueError, match="same items"):
        intervals.paired_difference(TOP1, [first], [second[:-1]])


def _runs(shares, size=200):
    """A run for each share of right ones, and what it is right on."""
    return {"top1": [np.arange(size) < share * size for share in shares]}


def test_seeds_of_a_fold_are_averaged_before_the_interval_over_folds():
    found = results.make_row([TOP1], _runs([0.5, 0.7, 0.6, 0.6, 0.7, 0.9]), seeds=2, **FAST)["measures"]["top1"]
    assert found["values"] == pytest.approx([50, 70, 60, 60, 70, 90]) and found["value"] == pytest.approx(200 / 3)
    expected = scipy.stats.ttest_1samp([60, 60, 80], 0).confidence_interval(0.95)
    assert found["interval"]["low"] == pytest.approx(expected.low)
    assert found["interval"]["high"] == pytest.approx(expected.high)
    assert found["interval"]["of"] == "95% t over 3 folds, each the mean of 2 seeds"
    assert found["intervals"][1]["of"] == "95% bootstrap over 600 clips"


def test_of_one_fold_the_interval_is_over_seeds():
    found = results.make_row([TOP1], _runs([0.5, 0.7, 0.75]), seeds=3, **FAST)["measures"]["top1"]
    expected = scipy.stats.ttest_1samp([50, 70, 75], 0).confidence_interval(0.95)
    assert (found["interval"]["low"], found["interval"]["high"]) == pytest.approx((expected.low, expected.high))
    assert found["interval"]["of"] == "95% t over 3 seeds"
    once = results.make_row([TOP1], _runs([0.5]), **FAST)["measures"]["top1"]["intervals"]
    assert [interval["of"] for interval in once] == ["95% bootstrap over 200 clips"]


def test_clips_are_drawn_together_for_all_seeds():
    # Four times the same run tells no more about other clips than one run.
    one, four = (results.make_row([TOP1], _runs([0.5] * n), seeds=n, **FAST) for n in (1, 4))
    assert one["measures"]["top1"]["intervals"][-1] == four["measures"]["top1"]["intervals"][-1]
    better = results.make_row([TOP1], _runs([0.6]), **FAST)
    assert results.compare_rows(one, better, TOP1, **FAST) == results.compare_rows(four, better, TOP1, **FAST)


def test_the_captions_of_a_clip_are_drawn_together():
    """The interval holds the truth as often as it says, however many captions a clip has (200 draws: +- 3 %)."""
    recall, rs = Measure("R@10", "text->video", "recall@10"), np.random.default_rng(0)
    for captions in (1, 20):
        held = 0
        for draw in range(200):
            easy = rs.choice([0.1, 0.9], 100)  # the clips of a pool are found or not, with all of their captions
            ranks = np.where(rs.random((100, captions)) < easy[:, None], 1, 50).reshape(-1, 1)
            groups = [np.repeat(np.arange(100), captions)]
            low, high = intervals.bootstrap(recall, [ranks], samples=100, seed=draw, groups=groups)
            held += low <= 50 <= high
        assert 0.89 <= held / 200 <= 0.99
    assert intervals.over(recall, [ranks], groups) == "100 clips (2000 queries)"


def test_groups_travel_with_a_result():
    recall = Measure("R@10", "text->video", "recall@10")
    groups = {"text->video": [np.repeat(np.arange(40), 5)]}
    rows = [
        results.make_row([recall], {"text->video": [np.repeat(ranks, 5)]}, groups=groups, **FAST)
        for ranks in (np.where(np.arange(40) < 20, 1, 50), np.where(np.arange(40) < 30, 1, 50))
    ]
    once = [intervals.bootstrap(recall, [np.where(np.arange(40)[:, None] < 20, 1, 50)], **FAST)]
    low, high = (rows[0]["measures"]["R@10"]["interval"][end] for end in ("low", "high"))
    assert (low, high) == pytest.approx(once[0], abs=5) and high - low > 20  # with 200 clips it would be 14
    found = results.compare_rows(*rows, recall, **FAST)
    assert found["method"] == "95% paired bootstrap over 40 clips (200 queries)" and found["high"] - found["low"] > 20


def test_what_mean_average_precision_draws_is_said():
    precision = Measure("mAP", "average_precision", "mean")
    row = results.make_row([precision], {"average_precision": [np.linspace(0.1, 0.9, 20)]}, **FAST)
    assert row["measures"]["mAP"]["interval"]["of"] == "95% bootstrap over 20 classes"
