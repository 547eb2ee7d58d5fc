"""Measured runs to a table: JSON with its baselines, what of the paper's order holds, and Markdown. No TensorFlow."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.miniature import scenes
from benchmarks.miniature.experiments import FEW, SHOTS, TABLES, UNTRAINED, Claim, folder
from mmv_tf.common.files import whole_file
from mmv_tf.metrics.intervals import over_folds

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"
SCHEMA = 1
VERDICTS = (
    "'holds' and 'reversed' are outside the noise of the seeds, by a paired t interval; it does not tell what other "
    "test clips would give. Of a hundred comparisons of equals, five are outside it."
)


def read(path: pathlib.Path) -> dict:
    if not path.is_file():
        raise ValueError(f"{path} is missing: run python -m benchmarks.miniature.run first, without --report")
    return json.loads(path.read_text("utf-8"))


def collect(
    table: str,
    data: pathlib.Path,
    measured: dict[str, list[int]],
    recipes: Mapping[str, str] | None = None,
    earlier: dict | None = None,
) -> dict:
    """The result of a table from the folders of its runs, and from the result that it replaces; values are per cent.

    Args:
      measured: {name of a run below DATA/runs: its seeds}; a row without a run is left out, and named.
      recipes: {name of a run: digest of what it is made of and measured by}, kept in the result.
      earlier: the result before: what it has of other seeds and rows is kept where data and recipe are the same, so
        that a table grows on any machine.

    Raises:
      ValueError: a run is not measured; names its file.
    """
    made = TABLES[table]
    of_runs = {name: "fac" if table in "ce" else run for name, run in made.rows.items()}
    of_runs |= dict.fromkeys(made.baselines, "fac" if table == "e" else "untrained")
    here = {name: measured.get(run.rpartition("/")[2], []) for name, run in of_runs.items()}
    found, costs, remarks = _of_folders(table, data, here)
    recipe_of = {name: recipes[run] for name, run in of_runs.items()} if recipes else {}
    checksums = read(data / "statistics.json")["checksums"]
    if earlier is not None and (version(earlier), earlier["data"]) == (scenes.VERSION, checksums):
        for name, of_seeds in _values_by_seed(earlier).items():
            if name not in recipe_of or earlier.get("recipes", {}).get(name) != recipe_of[name]:
                continue
            remarks.setdefault(name, [note for note in earlier["notes"] if note.startswith(_no_common_space(name))])
            found[name] = of_seeds | found[name]
            if name in earlier["costs"]:
                costs.setdefault(name, earlier["costs"][name])
    seeds = {name: sorted(of_seeds) for name, of_seeds in found.items()}
    values = {
        name: {
            column: [of_seeds[seed][column] for seed in seeds[name] if column in of_seeds[seed]]
            for column in made.columns
            if any(column in of for of in of_seeds.values())
        }
        for name, of_seeds in found.items()
    }
    rows = {name: values[name] for name in made.rows if found[name]}
    missing = [name for name in made.rows if name not in rows]
    not_run = [f"Not run yet: {', '.join(missing)}"] if missing else []
    told = [note for name in rows for note in remarks.get(name, [])]
    all_seeds = sorted(set().union(*seeds.values()))
    present = (*rows, *made.baselines)
    return {
        "schema": SCHEMA,
        "table": table,
        "title": made.title,
        "command": f"python -m benchmarks.miniature.run {table} --seeds {' '.join(map(str, all_seeds))}",
        "seeds": all_seeds,
        "seeds_of": {name: seeds[name] for name in present},
        "recipes": {name: recipe_of[name] for name in present if name in recipe_of},
        "costs": {name: costs[name] for name in rows if name in costs},
        "version": scenes.VERSION,
        "data": checksums,
        "rows": rows,
        "baselines": {name: values[name] for name in made.baselines},
        "orderings": [one for claim in made.claims for one in orderings(claim, rows, seeds)],
        "notes": list(dict.fromkeys([*not_run, *made.notes, *told])),
    }


def _of_folders(table: str, data: pathlib.Path, seeds: dict[str, list[int]]) -> tuple[dict, dict, dict]:
    """What runs of some seeds left: {row or baseline: {seed: {column: value}}}, {row: its cost}, {row: its notes}."""
    made = TABLES[table]
    found: dict[str, dict[int, dict[str, float]]] = {name: {} for name in (*made.rows, *made.baselines)}
    costs: dict[str, dict[str, float]] = {}
    remarks: dict[str, list[str]] = {}

    def add(name, seed, values):
        found[name].setdefault(seed, {}).update({column: values[column] for column in made.columns if column in values})

    if table == "c":
        for seed in seeds["naive"]:
            images = read(folder("fac", seed, data) / "images.json")
            for name in made.rows:
                add(name, seed, images[name])
        for seed in seeds["untrained"]:
            untrained = read(folder("untrained", seed, data) / "images.json")
            for name, values in (("untrained", untrained["inflated"]), ("raw", untrained["raw"]),
                                 ("chance", untrained["chance"])):  # fmt: skip
                add(name, seed, values)
    elif table == "e":
        for seed in seeds["chance"]:
            for column, shots in zip(FEW, SHOTS, strict=True):
                few = read(folder("fac", seed, data) / "results" / f"few_labels_{shots}.json")
                sides = {"pretrained (FAC)": few["network"], "from scratch": few["baselines"]["untrained"]}
                for name, row in (*sides.items(), ("chance", few["baselines"]["chance"])):
                    add(name, seed, {column: row["measures"][few["metric"]]["value"]})
    else:
        for name, run in made.rows.items():
            for seed in seeds[name]:
                workdir = folder(run, seed, data)
                run_measures = read(workdir / "miniature.json")
                add(name, seed, run_measures["measures"])
                remarks[name] = [_no_common_space(name) + f"{pair}: chance" for pair in run_measures["incomparable"]]
                if run not in UNTRAINED:
                    costs.setdefault(name, cost(read(workdir / "summary.json")))
        for seed in seeds["untrained"]:
            of_all = read(folder("untrained", seed, data) / "miniature.json")
            for name, values in (
                ("untrained", of_all["measures"]),
                ("raw", of_all["raw"]),
                ("chance", of_all["chance"]),
            ):
                add(name, seed, values)
    return found, costs, remarks


def _no_common_space(name: str) -> str:
    """How the note of a row begins that cannot compare two modalities."""
    return f"{name} has no common space for "


def _values_by_seed(result: dict) -> dict[str, dict[int, dict[str, float]]]:
    """{row or baseline: {seed: {column: value}}} of a result."""
    return {
        name: {
            seed: {column: values[place] for column, values in columns.items()}
            for place, seed in enumerate(seeds_of(result, name))
        }
        for name, columns in (result["rows"] | result["baselines"]).items()
    }


def cost(summary: dict) -> dict[str, float]:
    """What a run took, of its summary.json: whatever else the machine did, but for the memory of its caches."""
    return {
        "processor ms a step": 1000 * summary["processor_seconds"] / summary["steps_in_this_sitting"],
        "memory, GB": summary["peak_memory"] / 1e9,
    }


def orderings(claim: Claim, rows: dict, seeds: dict[str, list[int]]) -> list[dict]:
    """Whether a claim holds, measure by measure: difference of the means, and its t interval over paired seeds.

    Args:
      seeds: {row: those that its values are of}; the pairs are of those that both have.
    """
    found = []
    both = [seed for seed in seeds[claim.better] if seed in seeds[claim.worse]]
    for measure in claim.measures:
        sides = []
        for name in (claim.better, claim.worse):
            values = rows.get(name, {}).get(measure, [])
            sides.append(dict(zip(seeds[name], values, strict=True)) if values else {})
        if not both or not all(sides):
            continue
        difference = np.array([sides[0][seed] - sides[1][seed] for seed in both])
        low, high = over_folds(difference) if len(difference) > 1 else (-np.inf, np.inf)
        verdict = ("holds" if difference.mean() > 0 else "reversed") if low > 0 or high < 0 else "within noise"
        found.append(
            {
                "better": claim.better,
                "worse": claim.worse,
                "measure": measure,
                "source": claim.source,
                "difference": round(float(difference.mean()), 2),
                "low": round(float(low), 2) if np.isfinite(low) else None,
                "high": round(float(high), 2) if np.isfinite(high) else None,
                "verdict": verdict if len(difference) > 1 else "one seed: noise unknown",
            }
        )
    return found


def version(result: dict) -> int:
    """Of the data that a result was measured on."""
    return result.get("version", 2)  # the first that were written did not tell


def notes(result: dict) -> list[str]:
    """The notes of a result; first of all that it is of other data than `benchmarks.miniature.make` makes now."""
    if version(result) == scenes.VERSION:
        return result["notes"]
    why = "; in it the size of the balls told the material and their pace the tempo" if version(result) == 2 else ""
    older = f"Of version {version(result)} of the data{why}. The present one is {scenes.VERSION}: not comparable"
    return [older, *result["notes"]]


def columns(result: dict) -> tuple[str, ...]:
    """What a result must have: less in earlier versions of the data, and while rows are missing."""
    found = {column for row in result["rows"].values() for column in row}
    partial = version(result) != scenes.VERSION or len(result["rows"]) < len(TABLES[result["table"]].rows)
    return tuple(one for one in TABLES[result["table"]].columns if one in found or not partial)


def seeds_of(result: dict, name: str) -> list[int]:
    """Of a row or a baseline."""
    return result.get("seeds_of", {}).get(name, result["seeds"])


def validate(result: dict) -> None:
    """Raises ValueError where a baseline or a row lacks values; names it."""
    table = TABLES[result["table"]]
    for name in table.baselines:
        if not result["baselines"].get(name):
            raise ValueError(f"table {result['table']} lacks the baseline {name!r}: it is neither written nor shown")

    def whole(name, values):
        return len(values) == len(seeds_of(result, name)) and np.isfinite(values).all()

    for column in columns(result):
        if not any(column in row for row in result["rows"].values()):
            raise ValueError(f"table {result['table']}: no row has {column!r}")
        # Raw data has no common space.
        for name in (one for one in table.baselines if one != "raw" or column.startswith("probe/")):
            values = result["baselines"][name].get(column, [])
            if not values or not whole(name, values):
                raise ValueError(f"table {result['table']}: the baseline {name!r} lacks {column!r}")
    for name, row in result["rows"].items():
        if not row or not all(whole(name, values) for values in row.values()):
            raise ValueError(f"table {result['table']}: the row {name!r} lacks values of some seed")


def write(path: pathlib.Path, result: dict) -> None:
    """Writes a valid result."""
    validate(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def cell(values) -> str:
    if not values:
        return "-"
    spread = f" ({min(values):.0f}-{max(values):.0f})" if len(set(values)) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def short(measure: str) -> str:
    return measure.removeprefix("probe/").removeprefix("retrieval/").removeprefix("fine-tuned/")


def value_rows(result: dict) -> list[list[str]]:
    """A measure a row; the columns are baselines, then the runs. Raises ValueError where `validate` does."""
    validate(result)
    table = TABLES[result["table"]]
    names = {**{name: result["baselines"][name] for name in table.baselines}, **result["rows"]}
    found = [["", *names]] + [
        [short(column), *(cell(row.get(column)) for row in names.values())] for column in columns(result)
    ]
    if len({tuple(seeds_of(result, name)) for name in names}) > 1:
        found.append(["seeds", *(str(len(seeds_of(result, name))) for name in names)])
    costs = result.get("costs", {})
    for what in dict.fromkeys(what for of in costs.values() for what in of):
        found.append([what, *(cell([costs[name][what]] if name in costs else []) for name in names)])
    return found


def ordering_rows(result: dict) -> list[list[str]]:
    """What of the paper's order holds, a measure a row."""
    found = [["order", "by", "difference", "95 % over seeds", ""]]
    for one in result["orderings"]:
        interval = "-" if one["low"] is None else f"{one['low']:+.1f} to {one['high']:+.1f}"
        claim = f"{one['better']} > {one['worse']} ({one['source']})"
        found.append([claim, short(one["measure"]), f"{one['difference']:+.1f}", interval, one["verdict"]])
    return found


def markdown_rows(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def markdown(result: dict) -> str:
    """A table and what of the paper's order holds. Raises ValueError where `validate` does."""
    lines = [f"## ({result['table']}) {result['title']}", "", f"`{result['command']}`", ""]
    lines += [*markdown_rows(value_rows(result)), "", *(f"{note}." for note in notes(result)), ""]
    return "\n".join(lines + markdown_rows(ordering_rows(result))) + "\n"


def read_all(results: pathlib.Path) -> list[dict]:
    """All results of the miniature benchmark that are there, by the name of their table."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(results.glob("miniature_*.json"))]


def write_page(results: pathlib.Path, more: Sequence[str] = ()) -> None:
    """Writes RESULTS/README.md; `more` sections at its end."""
    head = (
        "# The paper's tables in miniature\n\n"
        "Made by `python -m benchmarks.miniature.run`; the data is described in benchmarks/miniature/CARD.md, the "
        "measures in benchmarks/miniature/measure.py. Per cent: the mean over seeds, in brackets the least and the "
        f"greatest. Raw frames and sound have no space in common, so they are baselines of probes only. {VERDICTS}\n\n"
    )
    with whole_file(results / "README.md") as partial:
        partial.write_text(head + "\n".join([*map(markdown, read_all(results)), *more]), "utf-8")
