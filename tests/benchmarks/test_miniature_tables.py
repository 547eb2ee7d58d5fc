"""The runs of the miniature benchmark, its tables and its learning curves."""

import argparse
import json
import sys

import pytest

from benchmarks.miniature import curves, experiments, page, run, scenes, tables, words
from demo.stages import Stage, StageError
from mmv_tf.common import config
from mmv_tf.inputs.pipeline import InputPipeline


def result(seeds=(0, 1, 2)):
    made = experiments.TABLES["e"]
    rows = {"pretrained (FAC)": {c: [80.0, 82.0, 81.0] for c in experiments.FEW},
            "from scratch": {c: [50.0, 53.0, 51.0] for c in experiments.FEW}}  # fmt: skip
    orderings = [one for claim in made.claims for one in tables.orderings(claim, rows, dict.fromkeys(rows, seeds))]
    return {"schema": 1, "table": "e", "title": made.title, "command": "run e", "seeds": list(seeds), "data": "",
            "rows": rows, "baselines": {"chance": {c: [16.7] * 3 for c in experiments.FEW}},
            "orderings": orderings, "notes": []}  # fmt: skip


def test_orderings_are_by_paired_seeds():
    one = result()["orderings"][0]
    # Differences 30, 29, 30: mean 29.67, t(2, .975) = 4.3027, standard error 1/3.
    assert one["difference"] == 29.67
    assert (one["low"], one["high"]) == pytest.approx((29.667 - 4.3027 / 3, 29.667 + 4.3027 / 3), abs=0.01)
    assert one["verdict"] == "holds"
    noisy = {"pretrained (FAC)": {experiments.FEW[0]: [1.0, 9.0]}, "from scratch": {experiments.FEW[0]: [2.0, 5.0]}}
    claim, both = experiments.TABLES["e"].claims[0], dict.fromkeys(noisy, [0, 1])
    assert tables.orderings(claim, noisy, both)[0]["verdict"] == "within noise"
    # Only seeds that both have are compared: 9 with 2.
    apart = tables.orderings(claim, noisy, {"pretrained (FAC)": [3, 4], "from scratch": [4, 5]})[0]
    assert (apart["difference"], apart["verdict"]) == (7.0, "one seed: noise unknown")
    assert tables.orderings(claim, noisy, {"pretrained (FAC)": [3, 4], "from scratch": [5, 6]}) == []


def test_a_table_of_an_earlier_version_of_the_data_says_so():
    new, old = result(), {**result(), "version": 2}
    assert "of the data" not in tables.markdown({**new, "version": scenes.VERSION})
    assert "Of version 2 of the data; in it the size of the balls told the material" in tables.markdown(old)
    assert f"The present one is {scenes.VERSION}: not comparable." in tables.markdown(new)  # tells no version: it is 2
    assert "version 2 of the data" in page._table(old)["notes"][0]
    columns = experiments.TABLES["e"].columns
    few = {**new, "rows": {name: {columns[0]: row[columns[0]]} for name, row in new["rows"].items()}}
    assert tables.columns({**few, "version": 3}) == columns[:1]
    assert tables.columns({**few, "version": scenes.VERSION}) == columns


def test_a_table_without_its_baselines_is_neither_written_nor_shown(tmp_path):
    whole = result()
    tables.write(tmp_path / "miniature_e.json", whole)
    tables.write_page(tmp_path)
    assert "| 4 clips an event | 16.7 | 81.0 (80-82) | 51.3 (50-53) |" in (tmp_path / "README.md").read_text()
    for broken in ({**whole, "baselines": {}}, {**whole, "baselines": {"chance": {experiments.FEW[0]: [1.0] * 3}}}):
        with pytest.raises(ValueError, match="baseline 'chance'"):
            tables.write(tmp_path / "other.json", broken)
        with pytest.raises(ValueError, match="baseline 'chance'"):
            tables.markdown(broken)
    with pytest.raises(ValueError, match="from scratch"):
        tables.markdown({**whole, "rows": {**whole["rows"], "from scratch": {experiments.FEW[0]: [1.0]}}})
    assert not (tmp_path / "other.json").exists()


def branches_of(table, seeds, data, name):
    return [one for one in run.branches(table, seeds, data) if run.run_name(one[0], data) == name]


def test_runs_share_what_they_have_in_common(tmp_path):
    """A run that two tables need is trained by the same stage, and each of its branches starts with it."""
    (tmp_path / "statistics.json").write_text("{}")
    wanted = [branch for table in "abcde" for branch in run.branches(table, [0, 1], tmp_path)]
    assert {folder.name for folder, _ in wanted} == {
        f"{name}-{seed}" for seed in (0, 1) for name in
        ("untrained", "vt", "va", "fac", "fac10", "shared", "disjoint", "batch16", "batch16_steps", "batch128",
         "candidates1", "candidates3")}  # fmt: skip
    assert {stages[0].name for _, stages in wanted} == {"train"}
    trained = {(folder, tuple(stages[0].command)) for folder, stages in wanted}
    assert len(trained) == len({folder for folder, _ in trained})
    assert [stage.name for stage in run.branches("c", [0], tmp_path)[1][1]] == ["train", "deflate", "images"]


def test_a_run_begins_with_what_another_of_its_seed_ended_with(tmp_path):
    (tmp_path / "statistics.json").write_text("{}")
    [(folder, stages)] = branches_of("f", [3], tmp_path, "objectives/avid_cma")
    (other, first) = run.begin_stages([3], tmp_path)[folder]
    assert other == tmp_path / "runs" / "objectives" / "avid-3" and f"--workdir={other}" in first.command
    assert f"--gin_param=train.init_from = '{other}'" in stages[0].command
    # Its row is made of the gin files of both.
    assert run.gin_inputs("objectives/avid")[0] in stages[0].inputs


def test_a_network_of_its_own_has_an_untrained_row(tmp_path):
    (tmp_path / "statistics.json").write_text("{}")
    [(folder, stages)] = branches_of("g", [3], tmp_path, "objectives/vatt_untrained")
    train, measure = (" ".join(stage.command) for stage in stages)
    assert "--mode=init" in train and "gin/objectives/vatt.gin" in train and f"--workdir={folder}" in train
    assert "--baselines" not in measure  # chance and raw data are those of the first
    folder.mkdir(parents=True)
    (folder / "miniature.json").write_text(json.dumps({"measures": {experiments.SOUND[0]: 21.0}, "incomparable": []}))
    baseline = folder.parents[1] / "untrained-3"
    baseline.mkdir()
    nothing = dict.fromkeys(("measures", "raw", "chance"), {})
    (baseline / "miniature.json").write_text(json.dumps(nothing))
    (tmp_path / "statistics.json").write_text(json.dumps({"checksums": {}}))
    found = tables.collect("g", tmp_path, {"untrained": [3], "vatt_untrained": [3]})
    assert found["rows"] == {"VATT, untrained": {experiments.SOUND[0]: [21.0]}} and not found["costs"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_waits_for_the_one_that_it_begins_with(tmp_path, jobs):
    def stage(name, needs=""):
        code = f"[open(one) for one in {needs!r}.split()]; open({str(tmp_path / name)!r}, 'w')"
        return Stage("train", name, [sys.executable, "-c", code])

    wanted = {"x": [(tmp_path / "after-0", [stage("b", str(tmp_path / "a"))]), (tmp_path / "else-0", [stage("c")])]}
    first = {
        tmp_path / "after-0": (tmp_path / "before-0", stage("a")),
        tmp_path / "no-0": (tmp_path / "d-0", stage("d")),
    }
    ended = []
    run.run_all(wanted, jobs, ended.append, first)
    assert ended == ["x", "x"] and (tmp_path / "b").exists() and not (tmp_path / "d").exists()
    # Nothing of it is run where the one that it begins with fails.
    wanted = {"x": [(tmp_path / "next-0", [stage("e")])]}
    with pytest.raises(StageError):
        run.run_all(wanted, jobs, ended.append, {tmp_path / "next-0": (tmp_path / "bad-0", stage("f", "nowhere"))})
    assert not (tmp_path / "e").exists() and len(ended) == 2


def test_every_experiment_is_a_gin_file():
    for table in experiments.TABLES.values():
        for name in table.rows.values():
            file = "fac" if name in ("naive", "trained", "inflated") else experiments.UNTRAINED.get(name, name)
            assert (run.HERE / "gin" / f"{file}.gin").is_file()
        assert {measure for claim in table.claims for measure in claim.measures} <= set(table.columns)
        assert {side for claim in table.claims for side in (claim.better, claim.worse)} <= set(table.rows)


def test_every_run_hears_at_the_rate_of_the_records(tmp_path, monkeypatch):
    """Of records of 16 kHz; what else is asked of a clip shows in the run's first batch."""
    monkeypatch.chdir(run.ROOT)
    (tmp_path / "vocabulary.txt").write_text("ball\n")
    heard = set()
    for name in sorted({name for table in "abdf" for name in run.runs_of(table)} - set(run.UNTRAINED)):
        text = any("VOCABULARY" in file.read_text("utf-8") for file in run.gin_inputs(name))
        config.parse([run.gin_file(name)], [f"VOCABULARY = '{tmp_path}/vocabulary.txt'"] * text)
        if "audio" in (pipeline := InputPipeline()).modalities:
            assert pipeline.audio.sample_rate == scenes.SAMPLE_RATE, name
            heard.add(name)
    assert {"fac", "objectives/vatt", "objectives/xdc", "objectives/gdt"} <= heard and "objectives/cvrl" not in heard


def test_the_page_shows_every_event_and_what_holds():
    shown = page.render([result()])
    assert all(f"<h3>{event}, " in shown for event in (*scenes.EVENTS, *scenes.NEW_EVENTS))
    assert shown.count("<audio") == 12 and "<h3>drift " in shown and ", then " in shown
    assert "<td>81.0 (80-82)</td>" in shown and "<td>holds</td>" in shown
    _, shot = page.examples()[0]
    frames, samples = page.film_and_sound(shot)
    assert frames.shape == (30, scenes.SIZE, scenes.SIZE, 3) and samples.shape == (48000,)


def measured_runs(data, seeds):
    """Folders as runs leave them: VT cannot compare audio and text, FAC is better by ten, seeds differ by one."""
    (data / "statistics.json").write_text(json.dumps({"checksums": {"vocabulary.txt": "ab"}}))
    for seed in seeds:
        for name, level in (("untrained", 20.0), ("vt", 40.0), ("va", 30.0), ("fac", 50.0), ("fac10", 55.0)):
            found = {"measures": {column: level + seed for column in experiments.ALL}, "incomparable": []}
            took = {"processor_seconds": 8.0 + seed, "steps_in_this_sitting": 4, "peak_memory": 2e9}
            if name == "vt":
                found["incomparable"] = ["audio, text"]
                found["measures"] = {k: v for k, v in found["measures"].items() if not k.startswith("probe/audio")}
            if name == "untrained":
                found["raw"] = {column: 15.0 for column in experiments.ALL if column.startswith("probe/")}
                found["chance"] = dict.fromkeys(experiments.ALL, 10.0)
            (data / "runs" / f"{name}-{seed}").mkdir(parents=True)
            (data / "runs" / f"{name}-{seed}" / "miniature.json").write_text(json.dumps(found))
            (data / "runs" / f"{name}-{seed}" / "summary.json").write_text(json.dumps(took))


def test_a_table_is_collected_from_its_runs(tmp_path):
    measured_runs(tmp_path, [0, 1])
    there = dict.fromkeys(("untrained", "vt", "va", "fac", "fac10"), [0, 1])
    found = tables.collect("a", tmp_path, there)
    assert found["rows"]["VAT (FAC)"]["probe/video/event"] == [50.0, 51.0] and found["data"] == {"vocabulary.txt": "ab"}
    assert "probe/audio/event" not in found["rows"]["VT"] and found["baselines"]["raw"]["probe/video/event"] == [15, 15]
    assert "VT has no common space for audio, text: chance" in found["notes"]
    tables.write(tmp_path / "miniature_a.json", found)
    shown = tables.markdown(found)
    assert (
        "| video/event | 10.0 | 20.5 (20-21) | 15.0 | 40.5 (40-41) | 30.5 (30-31) | 50.5 (50-51) | 55.5 (55-56) |"
    ) in shown
    assert "| seeds |" not in shown
    assert "| processor ms a step | - | - | - | 2000.0 |" in shown and "| memory, GB | - | - | - | 2.0 |" in shown
    lost = {name: {k: v for k, v in row.items() if "tempo" not in k} for name, row in found["rows"].items()}
    with pytest.raises(ValueError, match="no row has 'probe/video/tempo'"):
        tables.validate({**found, "rows": lost})
    with pytest.raises(ValueError, match=r"vt-2.miniature.json is missing"):
        tables.collect("a", tmp_path, {**there, "vt": [0, 2]})


def test_a_table_grows_row_by_row_and_seed_by_seed(tmp_path):
    measured_runs(tmp_path, [0, 1])
    found = tables.collect("a", tmp_path, {"untrained": [0], "vt": [0, 1], "fac": [0]})
    tables.validate(found)
    assert list(found["rows"]) == ["VT", "VAT (FAC)"] and found["seeds"] == [0, 1]
    assert found["notes"][0] == "Not run yet: VA, VAT (FAC, 10 : 1)"
    assert {(one["better"], one["worse"], one["verdict"]) for one in found["orderings"]} == {
        ("VAT (FAC)", "VT", "one seed: noise unknown")}  # fmt: skip
    shown = tables.markdown(found)
    assert "| video/event | 10.0 | 20.0 | 15.0 | 40.5 (40-41) | 50.0 |" in shown
    assert "| seeds | 1 | 1 | 1 | 2 | 1 |" in shown
    lost = {**found, "rows": {**found["rows"], "VT": {"probe/video/event": [40.0]}}}
    with pytest.raises(ValueError, match="row 'VT' lacks values of some seed"):
        tables.validate(lost)


def test_only_runs_that_are_done_are_measured(tmp_path):
    measured_runs(tmp_path, [0])
    assert run.measured(run.branches("a", [0], tmp_path)) == {}
    done = [(tmp_path / f"{name}-3", [Stage("train", name, [sys.executable, "-c", "pass"])]) for name in ("one", "two")]
    run.run_all({"x": done[:1]}, 1, lambda table: None)
    assert run.measured(done) == {"one": [3]}


def test_a_table_is_written_after_each_run_rows_before_seeds_and_a_failure_stops_the_rest(tmp_path):
    def stage(run_name, code="pass"):
        return Stage(run_name, "does a thing", [sys.executable, "-c", code])

    names = {"x": ["one-0", "one-1", "two-0"], "y": ["two-0", "three-0"]}
    wanted = {table: [(tmp_path / name, [stage(name)]) for name in runs] for table, runs in names.items()}
    ended, first = [], []

    def done(table):
        ended.append(table)
        first.append({name for name in ("one-0", "one-1", "two-0", "three-0") if (tmp_path / name).is_dir()})

    run.run_all(wanted, 1, done)
    assert ended == ["x", "x", "y", "y", "x"]  # one-0, two-0 of both, three-0, one-1
    assert "one-1" not in first[2]
    wanted = {
        "z": [(tmp_path / "bad-0", [stage("bad", "raise SystemExit(3)")]), (tmp_path / "next-0", [stage("next")])]
    }
    with pytest.raises(StageError, match="exit status 3"):
        run.run_all(wanted, 1, ended.append)
    assert len(ended) == 5 and not (tmp_path / "next-0").exists()


def test_a_point_of_a_curve_is_a_whole_run(tmp_path):
    (tmp_path / "statistics.json").write_text('{"checksums": {"vocabulary.txt": "ab"}}')
    branches = run.curve_branches(tmp_path)
    assert [folder.name for folder, _ in branches[:5]] == [f"{name}-400-100" for name in curves.ROWS.values()]
    assert [folder.parts[-2:] for folder, _ in branches[10 : 11 + len(curves.APART)]] == [
        *(("apart", f"{name.rpartition('/')[2]}-1600-100") for name in curves.APART.values()),
        ("curves", "vt-6400-100"),
    ]
    train, measured = branches[7][1]
    assert (
        "--gin_param=STEPS = 1600" in train.command and "--gin_param=warmup_cosine.warmup_steps = 100" in train.command
    )
    assert f"--workdir={branches[7][0]}" in train.command and train.outputs == [branches[7][0]]
    assert "--gin_param=train.seed = 100" in train.command and "--on_val" in measured.command
    for steps, level in ((400, 30.0), (1600, 50.0)):
        folder = curves.folder("fac", steps, tmp_path)
        folder.mkdir(parents=True)
        (folder / "validation.json").write_text(json.dumps({"measures": dict.fromkeys(curves.MEASURES[:2], level)}))
    there = [curves.folder("fac", steps, tmp_path) for steps in curves.STEPS[:2]]
    recipes = run.recipes("curves")
    found = curves.collect(tmp_path, there, "run curves", recipes)
    assert curves.series(found, curves.MEASURES[0]) == {"FAC": [(400.0, 30.0), (1600.0, 50.0)]}
    assert "| FAC | 1,600 | 50.0 | 50.0 | - |" in curves.markdown(found)
    assert page.render([], found).count("<polyline") == 2
    # What was made elsewhere of the same stays, and nothing of other gin files or data.
    assert curves.collect(tmp_path, there[:1], "run curves", recipes, found) == found
    assert set(curves.collect(tmp_path, there[:1], "", recipes | {"FAC": "of others"}, found)["rows"]["FAC"]) == {"400"}
    assert set(curves.collect(tmp_path, there[:1], "", recipes, {**found, "data": {}})["rows"]["FAC"]) == {"400"}


def test_a_run_without_words_of_materials_has_its_own_vocabulary_wherever_the_data_is(tmp_path):
    kept = (run.HERE / "gin/apart/no_material.txt").read_text().split()
    told = {material: set(" ".join(said).replace(",", "").split()) for material, said in words.MATERIALS.items()}
    assert all(
        not (told[one] - set().union(*(told[other] for other in told if other != one))) & set(kept) for one in told
    )
    assert {"bounce", "roll", "scatter", "shaken", "swing", "whirl", "camera"} <= set(kept)
    assert run.own_vocabulary("apart/fac_no_material") == [run.HERE / "gin/apart/no_material.txt"]
    assert run.gin_inputs("apart/fac_no_material")[-1].name == "no_material.txt"  # another list is another recipe
    assert not any("VOCABULARY" in given for given in run.gin("apart/fac_no_material", tmp_path))
    assert f"--gin_param=VOCABULARY='{tmp_path}/vocabulary.txt'" in run.gin("fac", tmp_path)


def test_a_table_keeps_what_was_made_of_the_same_elsewhere(tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir(), elsewhere.mkdir()
    measured_runs(here, [0])
    measured_runs(elsewhere, [1])
    recipes = {name: f"made of {name}" for name in ("untrained", "vt", "va", "fac", "fac10")}
    names = dict.fromkeys(("untrained", "vt", "fac"), [0])
    earlier = tables.collect("a", here, names, recipes)
    assert earlier["recipes"]["VT"] == "made of vt" and earlier["recipes"]["chance"] == "made of untrained"
    there = {"untrained": [1], "fac": [1], "va": [1]}
    found = tables.collect("a", elsewhere, there, recipes, earlier)
    tables.validate(found)
    assert found["seeds_of"] == {
        "VT": [0],
        "VA": [1],
        "VAT (FAC)": [0, 1],
        **dict.fromkeys(("chance", "untrained", "raw"), [0, 1]),
    }
    assert found["rows"]["VAT (FAC)"]["probe/video/event"] == [50.0, 51.0]
    assert found["rows"]["VT"] == earlier["rows"]["VT"] and found["costs"]["VT"] == earlier["costs"]["VT"]
    assert "VT has no common space for audio, text: chance" in found["notes"]
    assert found["notes"][0] == "Not run yet: VAT (FAC, 10 : 1)" and found["command"].endswith("a --seeds 0 1")
    # What is measured here replaces what was; nothing of other settings, data or measures is kept.
    again = tables.collect("a", elsewhere, there, recipes, found)
    assert again == found
    other = tables.collect("a", elsewhere, there, recipes | {"vt": "of other gin files"}, earlier)
    assert "VT" not in other["rows"] and other["rows"]["VAT (FAC)"] == found["rows"]["VAT (FAC)"]
    (elsewhere / "statistics.json").write_text(json.dumps({"checksums": {"vocabulary.txt": "cd"}}))
    assert tables.collect("a", elsewhere, there, recipes, earlier)["seeds"] == [1]
    assert tables.collect("a", here, {}, recipes, {**earlier, "version": 3})["seeds"] == []


def test_a_recipe_is_of_all_files_that_a_row_depends_on(monkeypatch, tmp_path):
    before = run.recipes("f")
    assert set(before) == set(run.runs_of("f"))
    assert len(set(before.values())) == len(before) - len(run.UNTRAINED)  # each is made of what the trained one is
    changed = tmp_path / "equal.gin"
    changed.write_text("train.batch_size = 3\n")
    equal, real = run.ROOT / "benchmarks/miniature/gin/objectives/equal.gin", run.with_includes
    monkeypatch.setattr(run, "with_includes", lambda *given: [changed if one == equal else one for one in real(*given)])
    after = run.recipes("f")
    assert {name for name in before if before[name] != after[name]} == {
        name
        for name in before
        if "/" in name and equal in real(run.ROOT / run.gin_file(run.UNTRAINED.get(name, name)), run.ROOT)
    }
    assert after["objectives/gdt"] != before["objectives/gdt"] and after["fac"] == before["fac"]


def test_some_runs_alone(monkeypatch, tmp_path):
    (tmp_path / "statistics.json").write_text("{}")
    asked = []
    monkeypatch.setattr(run, "run_all", lambda wanted, *_: asked.append(wanted))
    monkeypatch.setattr(run.page, "write", lambda path: None)
    given = {"seeds": [0, 3], "data": str(tmp_path), "jobs": 1, "report": False}
    names = ["vt", "objectives/gdt", "curves/fac-1600"]
    run.main(argparse.Namespace(tables=["f", "curves"], runs=names, **given))
    ran = {
        table: [folder.relative_to(tmp_path / "runs").as_posix() for folder, _ in of] for table, of in asked[0].items()
    }
    assert ran == {
        "f": ["vt-0", "objectives/gdt-0", "vt-3", "objectives/gdt-3"],
        "curves": ["curves/fac-1600-100"],
    }
    with pytest.raises(ValueError, match="no run of these tables is named gdt"):
        run.main(argparse.Namespace(tables=["f"], runs=["gdt", "vt"], seeds=[0], data=str(tmp_path)))
