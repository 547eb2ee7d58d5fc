"""examples/tour.ipynb, run cell by cell on the tiny export; what it shows is kept, as Jupyter would."""

import json
import pathlib
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_export

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = json.loads((ROOT / "examples" / "tour.ipynb").read_text("utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """What the cells display; the folder that they look into is that of the shared export."""
    shared, found = tiny_export.export(), []
    for name, path in (("records", shared.records), ("run", shared.workdir), ("export", shared.module)):
        (tmp_path / name).symlink_to(path)
    monkeypatch.setenv("MMV_TF_TOUR", str(tmp_path))
    display = types.SimpleNamespace(
        display=found.append, Image=lambda data: ("image", data), SVG=lambda data: ("svg", data)
    )
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    yield found
    tf.config.run_functions_eagerly(False)


def test_every_cell_runs(shown):
    names = {}
    with tiny_export.loaded_once():
        for cell in CELLS:
            # Line by line: three steps take less time than to trace one. What is traced of a module is in tests/export.
            tf.config.run_functions_eagerly(".fit(" in cell)
            exec(compile(cell, "tour.ipynb", "exec"), names)
    assert [kind for kind, _ in shown] == ["image", "image", "svg", "image"]
    assert all(data.startswith(b"\xff\xd8") for kind, data in shown if kind == "image")
    assert len(names["several"]) == 8 and names["embedded"]["text"]["vat"].shape == (8, 8)
    cosine = names["model"].similarity(names["embedded"], "video", "audio")
    assert names["ranks"] == [int(np.sum(row >= row[number])) for number, row in enumerate(cosine)]
    assert names["images"].shape == names["videos"].shape == (8, 16)
    losses = names["history"].history["loss"]
    assert losses[-1] < losses[0]


def test_what_it_shows_is_stored_and_small():
    outputs = [output for cell in NOTEBOOK["cells"] for output in cell.get("outputs", [])]
    pictures = [kind for output in outputs for kind in output.get("data", {}) if kind.startswith("image/")]
    assert sorted(pictures) == ["image/jpeg"] * 3 + ["image/svg+xml"]
    assert (ROOT / "examples" / "tour.ipynb").stat().st_size < 500_000
    assert not any(output["output_type"] == "error" for output in outputs)
