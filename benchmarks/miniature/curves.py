"""Learning curves of the miniature benchmark: how many steps are enough, found on validation clips alone.

A run of so many steps, each with a whole schedule of its own, is a point of a curve. The tables are made with the
smallest number of steps after which no row rises by more than noise.
"""

import json
import pathlib
from collections.abc import Mapping

from benchmarks.miniature import scenes
from benchmarks.miniature.tables import cell, markdown_rows, read, short
from mmv_tf.common.files import whole_file

ROWS = {"VT": "vt", "VA": "va", "FAC": "fac", "Shared": "shared", "Disjoint": "disjoint"}
STEPS = (400, 1600, 6400)
# What sets FAC and shared apart, taken away one at a time: the sizes of the spaces; that text says what sound says for
# certain, the material, by the words for it; and what stands in the head of the coarse space. Of the steps of the
# tables alone.
APART = {
    "FAC, both of 128": "apart/fac_equal",
    "Shared, of 64": "apart/shared_64",
    "FAC, no word of materials": "apart/fac_no_material",
    "Shared, no word of materials": "apart/shared_no_material",
    "FAC, plain head": "apart/fac_plain_head",
    "FAC, plain head, no word of materials": "apart/fac_plain_head_no_material",
}
SEED = 100  # in no table
MEASURES = (
    "probe/video/event",
    "probe/video/material",
    "probe/video/tempo",
    "probe/audio/event",
    "retrieval/text->video mAP",
    "retrieval/video->audio R@10",
    "retrieval/text->audio mAP",
)


def folder(name: str, steps: int, data: pathlib.Path) -> pathlib.Path:
    """Of a run; `name` is that of its gin file."""
    return data / "runs" / "curves" / f"{name}-{steps}-{SEED}"


def points() -> list[tuple[str, str, int]]:
    """(row, name of its gin file, steps) of each run, the short ones of all rows first."""
    rows = {STEPS[0]: ROWS, STEPS[1]: ROWS | APART, STEPS[2]: ROWS}
    return [(row, name, steps) for steps in STEPS for row, name in rows[steps].items()]


def schedule(steps: int) -> dict[str, int]:
    """Bindings of benchmarks/miniature/gin/base.gin for another number of steps: all in proportion."""
    return {
        "STEPS": steps,
        "train.steps_per_loop": max(1, steps // 40),
        "train.checkpoint_every": steps // 8,
        "warmup_cosine.warmup_steps": steps // 16,
    }


def collect(
    data: pathlib.Path,
    measured: list[pathlib.Path],
    command: str,
    recipes: Mapping[str, str],
    earlier: dict | None = None,
) -> dict:
    """The result of the runs that are measured: {row: {steps: {measure: per cent on `val`}}}.

    Args:
      recipes: {name of a row: digest of what it is made of and measured by}, kept in the result.
      earlier: the result before, whose other points are kept where data and recipe are the same.
    """
    checksums = read(data / "statistics.json")["checksums"]
    rows: dict[str, dict[str, dict[str, float]]] = {}
    is_of_these = earlier is not None and (earlier["version"], earlier["data"]) == (scenes.VERSION, checksums)
    for row, name, steps in points():
        kept = earlier["rows"].get(row, {}) if is_of_these and earlier["recipes"].get(row) == recipes[row] else {}
        if (run := folder(name, steps, data)) in measured:
            found = read(run / "validation.json")["measures"]
            rows.setdefault(row, {})[str(steps)] = {one: found[one] for one in MEASURES if one in found}
        elif str(steps) in kept:
            rows.setdefault(row, {})[str(steps)] = kept[str(steps)]
    rows = {row: rows[row] for row in (*ROWS, *APART) if row in rows}
    return {
        "version": scenes.VERSION,
        "data": checksums,
        "command": command,
        "seed": SEED,
        "recipes": {row: recipes[row] for row in rows},
        "rows": rows,
    }


def value_rows(result: dict) -> list[list[str]]:
    """A row of a table and a number of steps a line."""
    lines = [["", "steps", *map(short, MEASURES)]]
    for row, points in result["rows"].items():
        for steps, found in points.items():
            lines.append([row, f"{int(steps):,}", *(cell([found[one]] if one in found else []) for one in MEASURES)])
    return lines


def series(result: dict, measure: str) -> dict[str, list[tuple[float, float]]]:
    """{row: [(steps, per cent)]} of the rows that have at least two points."""
    found = {
        row: [(float(steps), values[measure]) for steps, values in points.items() if measure in values]
        for row, points in result["rows"].items()
    }
    return {row: points for row, points in found.items() if len(points) > 1}


def markdown(result: dict) -> str:
    head = f"## Learning curves\n\n`{result['command']}`\n\nOn validation clips, seed {result['seed']}.\n\n"
    return head + "\n".join(markdown_rows(value_rows(result))) + "\n"


def write(path: pathlib.Path, result: dict) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
