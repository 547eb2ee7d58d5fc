"""Numbers for one's own videos: the rule, what a user binds beside it, and that a run keeps what it began with."""

import json

import gin
import pytest
import tensorflow as tf

from helpers import tiny
from mmv_tf import train
from mmv_tf.common import config
from mmv_tf.common.command import run
from mmv_tf.diagnosis.machine import Machine
from mmv_tf.training import own

LAPTOP = Machine(cores=4, memory=8.0, gflops=210.0)
RULE = own.Own(records="records/train-*")


def _values(records, machine=LAPTOP, rule=RULE, given=None, **options):
    return {one.name: one.value for one in own.choose(records, machine, rule, given, **options)}


def test_forty_clips():
    assert _values(own.Records(40, "records/test-*", 12, side=96)) == {
        "VideoInput.crop_size": 64,
        "VideoInput.min_side": 72,
        "train.batch_size": 32,
        "STEPS": 160,  # 100 passes over 40 clips are 125 steps
        "warmup_cosine.warmup_steps": 16,
        "train.steps_per_loop": 4,
        "train.checkpoint_every": 20,
        "Probe.retrieval_data": "records/test-*",
        "Probe.every": 20,
        "CollapseWatch.first_step": 40,
    }


@pytest.mark.parametrize(
    ("records", "machine", "rule", "expected"),
    [
        # Ten minutes at 60 clips/s and 64 a step; a faster machine; the end of what this is for.
        (own.Records(5000), LAPTOP, RULE, {"STEPS": 600, "train.batch_size": 64}),
        (own.Records(5000), LAPTOP, own.Own("r", minutes=20.0), {"STEPS": 1160}),
        (own.Records(5000), LAPTOP._replace(gflops=2100.0), RULE, {"STEPS": 5640}),
        (own.Records(10**7), LAPTOP._replace(gpus=1, cores=16), own.Own("r", 1e6), {"STEPS": 20_000}),
        (own.Records(5000), LAPTOP._replace(gpus=1), RULE, {"VideoInput.crop_size": 112, "train.batch_size": 256}),
        (own.Records(5000, side=45), LAPTOP, RULE, {"VideoInput.crop_size": 40, "VideoInput.min_side": 45}),
        (own.Records(5000), LAPTOP._replace(memory=1.0), RULE, {"train.batch_size": 16}),
        (own.Records(2), LAPTOP, RULE, {"train.batch_size": 2, "STEPS": 120}),
        (own.Records(90, narrations=3, words=41), LAPTOP, RULE, {"InputPipeline.max_candidates": 3}),
        (own.Records(90, narrations=9, words=41), LAPTOP, RULE, {"InputPipeline.max_candidates": 5}),
        (own.Records(90, narrations=3, words=41), LAPTOP, RULE, {"TextNetwork.vocabulary_size": 42}),
    ],
)
def test_the_rule(records, machine, rule, expected):
    found = _values(records, machine, rule)
    assert {name: found[name] for name in expected} == expected
    assert "Probe.every" not in found  # nothing is held out


@pytest.mark.parametrize("steps", [1, 7, 60, 61, 1000])
def test_what_is_given_is_kept_and_the_rest_fits_it(steps):
    records = own.Records(72, "records/test-*", 36)
    found = _values(records, given={"STEPS": steps, "VideoInput.crop_size": 100, "train.batch_size": 24})
    assert not {"STEPS", "VideoInput.crop_size", "train.batch_size"} & set(found)
    assert found["VideoInput.min_side"] == 100
    assert 1 <= found["warmup_cosine.warmup_steps"] <= max(1, steps // 10)
    assert steps % found["Probe.every"] == 0  # the last probe is of the last step
    assert found["Probe.every"] % found["train.steps_per_loop"] == 0
    assert found["train.checkpoint_every"] % found["train.steps_per_loop"] == 0


def test_what_does_not_fit_into_the_minutes_is_said():
    (steps,) = [one for one in own.choose(own.Records(500), LAPTOP, own.Own("r", minutes=1.0)) if one.name == "STEPS"]
    assert steps.value == 120 and steps.why.startswith(
        "the least that teaches anything, and more than Own.minutes = 1 allows; each clip 15 times, about 2 min"
    )


def test_a_batch_is_divided_among_replicas_and_one_clip_teaches_nothing():
    assert _values(own.Records(500), replicas=3)["train.batch_size"] == 63
    with pytest.raises(ValueError, match="1 clip; a network learns by telling clips apart"):
        _values(own.Records(1))


def _bindings(tmp_path, *params, files=("gin/own.gin",), workdir="run"):
    pattern = str(tmp_path / "records" / "train-*")
    if not (tmp_path / "records").exists():
        tiny.make_records(tmp_path / "records")
    params = [f"TRAIN_DATA = {pattern!r}", *params]
    return own.bindings(list(files), params, str(tmp_path / workdir), tf.distribute.get_strategy()), params


def test_bindings_after_the_line_are_the_users_and_what_is_said_is_what_is_done(tmp_path, capsys):
    mine = tmp_path / "mine.gin"
    mine.write_text("include 'gin/own.gin'\nCollapseWatch.first_step = 9\n")
    found, params = _bindings(tmp_path, "train.steps = 60", files=[str(mine)])
    assert "STEPS = 60" in found and "warmup_cosine.warmup_steps = 6" in found
    assert not [one for one in found if one.startswith(("CollapseWatch", "Probe", "train.steps ="))]
    said = capsys.readouterr().out
    assert "numbers for 24 clips (none held out) on " in said and "--split test" in said
    assert all(one in said for one in found)
    config.parse([str(mine)], [*found, *params])
    assert gin.query_parameter("train.batch_size") == 16 and gin.query_parameter("CollapseWatch.first_step") == 9
    assert gin.query_parameter("VideoInput.crop_size") == 35  # of records of 40 pixels
    assert _bindings(tmp_path, files=["gin/va.gin"])[0] == []
    with pytest.raises(ValueError, match="^Own.minutes is for the rule of gin/own.gin, which no"):
        _bindings(tmp_path, "Own.minutes = 3.0", files=["gin/va.gin"])


def test_a_run_that_goes_on_keeps_its_numbers(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.gin").write_text("STEPS = 400\ntrain.batch_size = 8\n")
    found, _ = _bindings(tmp_path)
    assert {"STEPS = 400", "train.batch_size = 8", "CollapseWatch.first_step = 100"} <= set(found)
    said = capsys.readouterr().out
    assert "began; today the rule would give 16" in said
    assert "STEPS = 400" not in _bindings(tmp_path, "STEPS = 500")[0]


def test_records_that_lack_what_is_trained_on_are_named(tmp_path, capsys):
    tiny.make_records(tmp_path / "records")
    card = tmp_path / "records" / "dataset.json"
    card.write_text(card.read_text().replace('"counters": {}', '"counters": {"with_captions": 0, "with_sound": 24}'))
    arguments = ["--gin_file=gin/own_captions.gin", f"--workdir={tmp_path / 'run'}", "--gin_param=VOCABULARY = 'w.txt'"]
    arguments.append(f"--gin_param=TRAIN_DATA = '{tmp_path}/records/train-*'")
    assert run(train.main, arguments) == 2
    assert "none of its 24 clips has narrations: gin/own.gin trains without" in capsys.readouterr().err


def _with_counters(folder, counters, **options):
    pattern = tiny.make_records(folder, count=4, shards=2, **options)
    card = folder / "dataset.json"
    card.write_text(card.read_text().replace('"counters": {}', f'"counters": {json.dumps(counters)}'))
    return pattern


def test_records_in_several_folders_are_judged_by_all_of_their_cards(tmp_path):
    without = _with_counters(tmp_path / "a", {"with_captions": 0, "with_sound": 3}, size=40)
    having = _with_counters(tmp_path / "b", {"with_captions": 2, "with_sound": 0}, size=24)
    for pattern in ([without, having], [having, without], str(tmp_path / "*/train-*")):
        found = own.read(pattern, ("video", "audio", "text"))
        assert (found.clips, found.side) == (8, 24)
    mute = _with_counters(tmp_path / "c", {"with_captions": 0, "with_sound": 0})
    with pytest.raises(ValueError, match="none of its 8 clips has narrations"):
        own.read([without, mute], ("text",))
    with pytest.raises(ValueError, match="none of its 4 clips has sound"):
        own.read(mute, ("audio",))
    (tmp_path / "a/dataset.json").unlink()  # what has no card may have anything
    assert own.read([without, mute], ("audio", "text")).side == 40


def test_narrations_and_words_are_counted(tmp_path):
    pattern = tiny.make_records(tmp_path / "records")
    words = tiny.write_vocabulary(tmp_path / "words.txt")
    found = own.read(pattern, ("video", "audio", "text"), words)
    assert found == own.Records(24, "", 0, 40, 2, len(tiny.WORDS))
