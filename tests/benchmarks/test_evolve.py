"""The search over weights of pairs: its candidates, what it goes on from, and errors; without a training run."""

import json
import pathlib
import subprocess
import types

import numpy as np
import pytest

from benchmarks import evolve

NAMES = ("WEIGHT_CLIPS", "WEIGHT_SOUND", "WEIGHT_ORDER", "WEIGHT_DISTILLED")


def test_candidates_are_a_function_of_the_seed_and_of_what_was_found():
    first = evolve.first_generation([2.0, 1.0], 4, seed=3)
    assert first[0] == [1.0, 0.5] and first == evolve.first_generation([2.0, 1.0], 4, seed=3)
    assert first[1:] != evolve.first_generation([2.0, 1.0], 4, seed=4)[1:]
    drawn = np.array(evolve.first_generation([1.0] * 3, 400, seed=0)[1:])
    assert 0 <= drawn.min() < 0.01 and 0.99 < drawn.max() <= 1 and abs(drawn.mean() - 0.5) < 0.05
    tried = [0.9, 0.1], [0.8, 0.2], [0.0, 1.0], [0.1, 1.0]
    known = [{"weights": weights, "fitness": -i} for i, weights in enumerate(tried)]
    children = np.array(evolve.next_generation(known, 300, seed=0, generation=1))
    np.testing.assert_allclose(children.mean(axis=0), [0.83, 0.17], atol=0.05)  # those of the better half
    assert children.min() == 0 and children.max() == 1 and 0.1 < children[:, 0].std() < 0.25
    again = evolve.next_generation(known[::-1], 300, seed=0, generation=1)
    assert again == children.tolist() != evolve.next_generation(known, 300, seed=0, generation=2)


@pytest.fixture
def runs(monkeypatch):
    """Runs that find the fitness - sum of squares of the distance to weights that are best; the commands given."""
    given = []

    def run(command, **options):
        given.append(command)
        values = dict(one.partition("=")[2].split(" = ", 1) for one in command if one.startswith("--gin_param="))
        weights = [float(values[name]) for name in NAMES]
        if weights[0] == 0.123:
            return types.SimpleNamespace(returncode=2, stdout="", stderr="said before\nerror: no records\n")
        path = pathlib.Path(next(one for one in command if one.startswith("--workdir=")).partition("=")[2])
        path.mkdir(parents=True, exist_ok=True)
        fitness = -sum((w - b) ** 2 for w, b in zip(weights, (0.2, 0.9, 0.4, 0.6), strict=True))
        (path / "probes.json").write_text(json.dumps([[0, {evolve.FITNESS: -5.0}], [8, {evolve.FITNESS: fitness}]]))
        return types.SimpleNamespace(returncode=0, stdout="trained\n", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    return given


def test_a_search_goes_on_where_it_was_and_ends_with_a_table(runs, tmp_path, capsys):
    def search(*more):
        evolve.cli(["--steps=8", f"--output={tmp_path}", "--population=3", *more])
        return json.loads((tmp_path / "evolve.json").read_text()), capsys.readouterr().out

    found, _ = search("--generations=1")
    assert (tmp_path / "g00-01.log").read_text() == "trained\n"
    assert len(runs) == 3 and f"--workdir={tmp_path}/g00-02" in runs[-1] + runs[-2] + runs[-3]
    assert {"--gin_param=Probe.every = 8", "--gin_param=WEIGHT_ORDER = 1.0"} <= set(runs[0] + runs[1] + runs[2])
    assert found["untrained"] == -5.0 and [one["name"] for one in found["candidates"]][:2] == ["g00-00", "g00-01"]
    (tmp_path / "evolve.json").unlink()  # lost: the runs are there
    assert search("--generations=1")[0] == found and len(runs) == 3
    more, said = search("--generations=3")
    assert f"--workdir={tmp_path}/g02-02" in runs[-1] + runs[-2] + runs[-3]
    assert more["candidates"][:3] == found["candidates"] and len(runs) == len(more["candidates"]) == 9
    best = max(more["candidates"], key=lambda one: one["fitness"])
    lines = said.splitlines()
    assert lines[-1] == " ".join(f'--gin_param="{n}={w}"' for n, w in zip(NAMES, best["weights"], strict=True))
    assert lines[-11].split()[:2] == ["1", best["name"]] and "untrained: -5.0000" in lines[-2]
    assert best["fitness"] > max(one["fitness"] for one in found["candidates"])
    with pytest.raises(ValueError, match=r"evolve.json was found with other settings \(seed = 0\): give the same, or"):
        search("--seed=1")


def test_what_cannot_be_searched_is_said_in_one_line(runs, tmp_path):
    with pytest.raises(
        ValueError, match="--weights WEIGHT_X: no gin file gives this macro a weight, such as WEIGHT_X ="
    ):
        evolve.cli(["--weights", "WEIGHT_X", f"--output={tmp_path}"])
    with pytest.raises(
        ValueError, match=r"candidate g00-00 with the weights \[0.123, 1.0, 1.0, 1.0\]: no records \(.*g00-00.log\)$"
    ):
        evolve.cli(["--gin_param=WEIGHT_CLIPS = 0.123", f"--output={tmp_path}/new", "--population=2"])
    found = json.loads((tmp_path / "new/evolve.json").read_text())
    assert found["candidates"] == [] and found["settings"]["population"] == 2  # so that its runs are of these settings


def test_a_search_that_was_killed_in_its_first_generation_goes_on_with_its_own_settings_alone(
    runs, tmp_path, monkeypatch
):
    """Runs that are complete are taken by their names."""

    def killed(*_):
        raise KeyboardInterrupt

    def search(*more):
        evolve.cli(["--steps=8", f"--output={tmp_path}", "--population=3", "--generations=1", *more])

    with monkeypatch.context() as patch:
        patch.setattr(evolve, "run_generation", killed)
        with pytest.raises(KeyboardInterrupt):
            search()
    with pytest.raises(ValueError, match=r"evolve.json was found with other settings \(seed = 0\): give the same, or"):
        search("--seed=1")
    assert not runs
    search()
    assert len(runs) == 3 and len(json.loads((tmp_path / "evolve.json").read_text())["candidates"]) == 3
