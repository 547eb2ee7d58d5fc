"""The runs of every file of gin/systems: which are done, done again or refused, and their table."""

import json
import pathlib

import pytest

from benchmarks import systems

PROBES = {"untrained": {"video/event": 20.0}, "trained": {"video/event": 30.0}}
LOSSES = {"steps": 5, "one": [{"total_loss": 2.0}], "two": [{"total_loss": 2.002}]}


@pytest.fixture
def ran(monkeypatch):
    """[(system, part)] of the processes that were started, each of which leaves a result."""
    found = []

    def run(command, **_):
        name, part = command[3], command[command.index("--parts") + 1]
        found.append((name, part))
        learned = {"batch_size": 8, "steps": 5, "probes": PROBES}
        result = learned if part == "learning" else LOSSES
        pathlib.Path(command[command.index("--only") + 1]).write_text(json.dumps(result))

    monkeypatch.setattr(systems.subprocess, "run", run)
    return found


def test_what_is_in_the_results_is_done_again_only_when_asked_and_then_from_the_start(tmp_path, ran, capsys):
    given = ["gdt", "--steps", "5", "--data", str(tmp_path), "--output", str(tmp_path / "results.json")]
    systems.cli(given)
    assert ran == [("gdt", "replicas"), ("gdt", "learning")]
    assert "| gdt | 8 | 20.0 -> 30.0 | - | - | 1e-03 |" in capsys.readouterr().out
    (tmp_path / "systems" / "gdt").mkdir(parents=True)
    systems.cli(given)
    assert len(ran) == 2 and "gdt, learning: done before" in capsys.readouterr().out
    systems.cli([*given, "--parts", "learning", "--again"])
    assert ran[2:] == [("gdt", "learning")] and not (tmp_path / "systems" / "gdt").exists()


def test_a_run_that_begins_with_another_s_weights_has_them_made(tmp_path, ran):
    given = ["--steps", "5", "--data", str(tmp_path), "--output", str(tmp_path / "results.json"), "--parts", "learning"]
    with pytest.raises(ValueError, match="avts_hard begins with the weights of avts: run that before, or with it"):
        systems.cli(["avts_hard", *given])
    systems.cli(["avts", *given])
    systems.cli(["avts", "avts_hard", *given])  # avts is in the results, and its weights are not here
    assert ran == [("avts", "learning")] * 2 + [("avts_hard", "learning")]
    systems.cli(["avts", "avts_hard", *given])
    assert len(ran) == 3
    (tmp_path / "systems" / "avts").mkdir(parents=True)
    systems.cli(["avts_hard", *given, "--again"])
    assert ran[3:] == [("avts_hard", "learning")]


def test_a_loss_that_is_not_finite_or_not_there_is_no_equality():
    with pytest.raises(ValueError, match="a loss is not finite"):
        systems.apart({"one": [{"total_loss": float("nan")}], "two": [{"total_loss": 1.0}]})
    with pytest.raises(ValueError, match="one device logged"):
        systems.apart({"one": [{"a": 1.0}], "two": [{"b": 1.0}]})
