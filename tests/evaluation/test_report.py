"""The page of results: what stands in which table, and what is refused."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from helpers import record_fixtures
from helpers.mistyped import ROOT
from mmv_tf import report
from mmv_tf.evaluation import published, report_page, results
from mmv_tf.metrics.classification import Measure

TOP1 = Measure("top1", "top1", "mean")


def write_result(folder, right=0.75, protocol="ucf101", variant="", name="", clips="abcd" * 10):
    """A result whose network is right on a share of the clips, the untrained one on a quarter of them."""
    folder.mkdir(parents=True, exist_ok=True)

    def outcome(share):
        return {"top1": [np.arange(len(clips)) < share * len(clips)]}

    network = results.make_row([TOP1], outcome(right), samples=50)
    untrained = results.make_row([TOP1], outcome(0.25), samples=50)
    network["against_untrained"] = results.compare_rows(untrained, network, TOP1, samples=50)
    chance = results.make_chance([TOP1], outcome(0.1), "guessing <b>")
    result = {
        "schema": 1,
        "protocol": protocol,
        "dataset": "UCF101",
        "metric": "top1",
        "value": network["measures"]["top1"]["value"],
        "interval": network["measures"]["top1"]["interval"],
        "n": {"test": len(clips), "items": results.identity(clips)},
        "measures": {"top1": {"outcome": "top1", "summary": "mean"}},
        "network": {"workdir": name or str(folder.parent), **network},
        "baselines": {"chance": chance, "untrained": untrained, "raw": untrained},
        "folds": [{"name": "test_1", "train": 8, "test": len(clips)}],
        "settings": {"class": "LinearVideo", "variant": variant},
        "gin": "",
        "versions": {},
        "command": "python -m mmv_tf.evaluate --gin_param='A = \"<x>\"'",
    }
    results.write(str(folder / f"{protocol}.json"), result)
    return result


def _cells(page, name):
    """The cells of the row of a name in the first table that has one."""
    row = re.search(rf"<tr[^>]*><td>{re.escape(name)}</td>(.*?)</tr>", page).group(1)
    return re.findall("<td>(.*?)</td>", row)


def test_our_rows_stand_in_the_published_tables_with_their_baselines(tmp_path, capsys):
    write_result(tmp_path / "runs/fac/results")
    write_result(tmp_path / "runs/va/results", right=0.5)
    write_result(tmp_path / "runs/va/results", right=0.5, protocol="voc2007_inflated", variant="inflated")
    places = [f"--results={tmp_path}/runs/{name}" for name in ("fac", "va")]
    assert report.cli([*places, f"--output={tmp_path}/page.html"]) == 0
    assert "3 results of 2 networks" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert _cells(page, "published: VAT (FAC)") == ["84.7", "57.3", "32.2", "28.6", "78.7"]
    ours = _cells(page, "fac")
    assert ours[0].startswith("75.0 (") and ours[1:] == ["–"] * 4
    assert _cells(page, "fac, untrained")[0].startswith("25.0 (")
    # top1 is no measure of the table of images, so that its rows are the published ones alone.
    assert "va i-inf, untrained" not in page
    # The two networks on the same clips: 10 of 40 clips apart, which is more than chance gives.
    assert _cells(page, "ucf101")[:3] == ["fac", "va", "top1"] and _cells(page, "ucf101")[3] == "-25.0"
    assert _cells(page, "ucf101")[5] == "yes"
    assert "&lt;x&gt;" in page and "<x>" not in page and "<script" not in page
    assert [cell.split(" ")[0] for cell in _cells(page, "top1")] == ["75.0", "10.0", "25.0", "25.0"]
    assert _cells(page, "published: VA") == ["75.5", "51.6", "–", "–", "79.0"] and "arXiv 2006.16228" in page
    assert "Not measured yet: <code>python -m mmv_tf.evaluate</code> with gin/evals/esc50.gin, gin/evals/hmdb51" in page
    assert _cells(page, "ucf101")[6] == "none"


def test_networks_of_one_name_are_told_apart():
    found = [{"network": {"workdir": place}, "path": ""} for place in ("/a/fac", "/b/fac", "/b/va")]
    assert report_page.network_names(found) == {"/a/fac": "a/fac", "/b/fac": "b/fac", "/b/va": "b/va"}


def test_one_network_written_in_two_ways_is_one():
    found = [{"network": {"workdir": place}, "path": ""} for place in ("runs/fac", "runs/fac/", "./runs/fac", ".")]
    assert report_page.network_names(found) == {"runs/fac": "fac", ".": "."}


def test_settings_that_differ_are_named_beside_a_difference(tmp_path):
    first = write_result(tmp_path / "fac/results")
    second = write_result(tmp_path / "va/results", right=0.5)
    second["settings"]["classifier"] = {"C": 1.0}
    assert _cells(report_page.render([first, second]), "ucf101")[6] == "classifier.C"


def test_results_of_other_numbers_of_queries_are_no_pair_and_the_page_is_written(tmp_path, capsys):
    """Of the same clips, with one caption each and with two: the digest of the clips is one."""
    write_result(tmp_path / "one/results")
    two = write_result(tmp_path / "two/results", clips="abcd" * 20)
    two["n"]["items"] = results.identity("abcd" * 10)
    results.write(str(tmp_path / "two/results/ucf101.json"), two)
    write_result(tmp_path / "va/results", right=0.5)
    places = [f"--results={tmp_path}/{name}" for name in ("one", "two", "va")]
    assert report.cli([*places, f"--output={tmp_path}/page.html"]) == 0
    page, said = (tmp_path / "page.html").read_text(), capsys.readouterr().err
    files = [f"ucf101 ({tmp_path}/{name}/results/ucf101.json)" for name in ("one", "two", "va")]
    told = "{} and {} are of the same clips, but top1 is over {} clips in the first and over {} clips in the second"
    for first, second, *counts in ((files[0], files[1], 40, 80), (files[1], files[2], 80, 40)):
        assert told.format(first, second, *counts) in page and told.format(first, second, *counts) in said
    assert page.count("<tr><td>ucf101</td>") == 1 and _cells(page, "ucf101")[:2] == ["one", "va"]
    with pytest.raises(ValueError, match=r"ucf101 \(.*/one\) and ucf101 \(.*/two\) are .* over 80 clips in the second"):
        results.compare(results.read(str(tmp_path / "one/results/ucf101.json")), two)


def test_changed_settings_stand_in_a_row_of_their_own_and_are_named(tmp_path):
    usual = write_result(tmp_path / "fac/results")
    changed = write_result(tmp_path / "fac/results", right=0.5) | {"changed": {"classifier.C": [0.001, 1.0]}}
    page = report_page.render([usual, changed])
    assert _cells(page, "fac")[0].startswith("75.0 (")
    assert _cells(page, "fac (changed: classifier.C = 1.0)")[0].startswith("50.0 (")
    assert "<li>not the protocol of gin/evals/ucf101.gin: classifier.C = 1.0 (not 0.001)</li>" in page
    assert _cells(page, "ucf101")[:3] == ["fac", "fac (changed: classifier.C = 1.0)", "top1"]


def test_results_of_one_title_and_protocol_stand_in_rows_of_their_own(tmp_path):
    """Of one workdir at two steps, on other records, and once more."""
    result = write_result(tmp_path / "results", name="runs/fac")
    for number, (step, records) in enumerate([(7, "a"), (9, "a"), (9, "b"), (9, "b")]):
        result["network"]["measures"]["top1"]["value"] = float(number)
        result["network"]["step"], result["settings"]["records"] = step, records
        results.write(str(tmp_path / f"{number}.json"), result)
    page = report_page.render(results.gather([str(tmp_path / f"{number}.json") for number in range(4)]))
    titles = ["fac (step 7)", *("fac (step 9)" + more for more in ("", " (records b)", f" ({tmp_path}/3.json)"))]
    assert [_cells(page, title)[0].split(" ")[0] for title in titles] == ["0.0", "1.0", "2.0", "3.0"]
    assert [_cells(page, f"{title}, untrained")[0].split(" ")[0] for title in titles] == ["25.0"] * 4
    pairs = re.findall(r"<tr><td>ucf101</td><td>(.*?)</td><td>(.*?)</td>", page)
    assert pairs == [*itertools.combinations(titles, 2)]


def test_a_row_is_of_one_step_through_all_protocols(tmp_path):
    found = [("ucf101", 7, 1.0), ("ucf101", 9, 2.0), ("hmdb51", 9, 3.0)]
    for number, (protocol, step, value) in enumerate(found):
        result = write_result(tmp_path / "results", protocol=protocol, name="runs/fac")
        result["network"]["measures"]["top1"]["value"], result["network"]["step"] = value, step
        results.write(str(tmp_path / f"{number}.json"), result)
    page = report_page.render(results.gather([str(tmp_path / f"{number}.json") for number in range(3)]))
    rows = {title: [cell.split(" ")[0] for cell in _cells(page, title)] for title in ("fac (step 7)", "fac (step 9)")}
    assert [[value for value in row if value in ("1.0", "2.0", "3.0")] for row in rows.values()] == [
        ["1.0"],
        ["2.0", "3.0"],
    ]
    assert "fac (step 9): UCF101, hmdb51" in page


def test_a_result_without_a_baseline_is_refused(tmp_path, capsys):
    result = write_result(tmp_path / "run/results")
    del result["baselines"]["raw"]
    (tmp_path / "run/results/ucf101.json").write_text(json.dumps(result))
    assert report.cli([f"--results={tmp_path}/run", f"--output={tmp_path}/page.html"]) == 2
    error = capsys.readouterr().err
    assert "ucf101.json" in error and "baseline 'raw'" in error and not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(("place", "message"), [("nowhere", "no such file or folder"), ("", "no result in it")])
def test_places_without_results_are_named(tmp_path, capsys, place, message):
    assert report.cli([f"--results={tmp_path}/{place}"]) == 2
    assert message in capsys.readouterr().err


def test_curves_that_are_missing_or_end_in_nan_are_told(tmp_path, capsys):
    for name in ("nan", "empty", "whole"):
        write_result(tmp_path / name / "results")
    moved = write_result(tmp_path / "here/results", name=str(tmp_path / "moved"))
    for name, last in (("nan", float("nan")), ("whole", 1.0)):
        with tf.summary.create_file_writer(str(tmp_path / name)).as_default():
            for step, value in ((0, 3.0), (10, 2.0), (20, last)):
                tf.summary.scalar("loss/total", value, step=step)
    assert moved["network"]["workdir"].endswith("moved")
    places = [f"--results={tmp_path}/{name}" for name in ("nan", "empty", "whole", "here")]
    assert report.cli([*places, f"--output={tmp_path}/page.html"]) == 0
    page, error = (tmp_path / "page.html").read_text(), capsys.readouterr().err
    for note in (
        "nan: loss/total is nan at step 20: shown up to there",
        f"empty: no curves, as {tmp_path}/empty has no TensorBoard scalars",
        f"moved: no curves, as {tmp_path}/moved is no folder (any more)",
    ):
        assert f"<b>{note}</b>" in page and f"training curves: {note}" in error
    assert "whole: no" not in page and error.count("\n") == 3
    points = [len(line.split()) for line in re.findall(r'<polyline points="([^"]*)"', page)]
    assert points == [2, 3]  # of nan and whole


def test_examples_are_shown_with_what_their_records_hold(tmp_path):
    (tmp_path / "records").mkdir()
    bare = dataclasses.replace(record_fixtures.record("bare", sound=False), jpegs=(), height=0, width=0)
    damaged = dataclasses.replace(record_fixtures.record("damaged"), jpegs=(b"\xff\xd8no picture\xff\xd9",))
    record_fixtures.write_shards(tmp_path / "records", [[record_fixtures.record("whole"), bare, damaged]])
    result = write_result(tmp_path / "run/results")
    result["settings"] |= {"records": str(tmp_path / "records"), "split": "train"}
    found = [{"key": key, "right": key == "whole"} for key in ("whole", "bare", "damaged")]
    query = {"key": "whole", "text": "a dog"}
    result["examples"] = [
        {"pair": f"text->{side}", "query": query, "found": found, "rank": 1} for side in ("video", "audio")
    ]
    page = report_page.render([result])
    assert page.count('<img alt="video"') == 1 and page.count('<img alt="audio"') == 2
    assert page.count('<figure class="right">') == 2 and page.count('<figure class="wrong">') == 4
    assert page.count("a dog") == 2 and page.count("right: </span>whole") == 2 and page.count("</span>bare") == 2


def test_results_of_other_weights_or_records_are_said(tmp_path, capsys):
    for protocol, run, told, data in (
        ("ucf101", "fac", {"identity": "1", "step": 7000}, "a"),
        ("hmdb51", "fac", {"identity": "2", "step": 9000}, "a"),
        ("ucf101", "va", {"identity": "3", "step": 9000}, "b"),
    ):
        result = write_result(tmp_path / f"runs/{run}/results", protocol=protocol)
        result |= {"network": result["network"] | told, "data": data}
        results.write(str(tmp_path / f"runs/{run}/results/{protocol}.json"), result)
    page = report_page.render(results.gather([str(tmp_path / "runs/fac"), str(tmp_path / "runs/va")]))
    line = "fac: these results are not of one network, but of other weights or settings: hmdb51 (step 9000); ucf101"
    assert f"<strong>{line} (step 7000)</strong>" in page and line in capsys.readouterr().err
    assert _cells(page, "ucf101")[-1] == results.OTHER_DATA  # beside the paired difference of fac and va
    assert "<li>network: step 7000</li>" in page


# Of each file of gin/systems the row: avts_hard.gin is the end of avts.gin, two sizes of VATT are in no table, and
# aa_av_cc_clusters.gin is aa_av_cc.gin with one more loss.
SYSTEMS = {
    "milnce_i3d": "MIL-NCE I3D, HT",
    "milnce_s3d": "MIL-NCE S3D-G, HT",
    "avts": "AVTS MC3-18, AS",
    "gdt": "GDT R(2+1)D-18, AS",
    "gdt_text": "GDT R(2+1)D-18 with text, HT",
    "brave": "BraVe TSM-50, AS",
    "cvrl": "CVRL R3D-50, Kinetics-600",
    "simclr_r50": "SimCLR ResNet-50",
    "simclr_r50x2": "SimCLR ResNet-50x2",
    "simclr_r50x4": "SimCLR ResNet-50x4",
    "vatt_mbs": "VATT Medium, AS+HT",
    "vatt_ma": "VATT modality-agnostic, AS+HT",
    "avid": "AVID R(2+1)D-18, AS",
    "avid_cma": "AVID-CMA R(2+1)D-50, AS",
    "xdc": "XDC R(2+1)D-18, AS",
    "elo": "ELo R(2+1)D-50, YouTube-8M",
    "aa_av_cc": "AA+AV CC ResNet-50, AS",
}


def test_every_other_system_has_a_row_with_the_figures_of_its_gin_file():
    files = {path.stem: path.read_text() for path in (ROOT / "gin" / "systems").glob("*.gin")}
    assert set(files) == {*SYSTEMS, "avts_hard", "vatt_bbs", "vatt_lbs", "aa_av_cc_clusters"}
    rows = {name: values for table in published.TABLES for name, values in table.rows}
    for system, row in SYSTEMS.items():
        header = files[system].partition("include '")[0]
        figures = [value for value in rows[row] if value is not None]
        assert figures and [value for value in figures if f" {value}" not in header] == [], system
