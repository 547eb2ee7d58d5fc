"""The page of `mmv_tf.report`: published tables with our rows in them, and every result beside its baselines."""

import itertools
import pathlib
import sys
import textwrap

from mmv_tf.evaluation import published, results, retrieval_examples
from mmv_tf.metrics import control
from mmv_tf.pages import curves, document

_DASH = "\u2013"
_VARIANTS = {"naive": "n-def", "trained": "def", "inflated": "i-inf"}  # of the image network, as the paper calls them


def render(found: list[dict]) -> str:
    """The page as HTML. `found`: results as `mmv_tf.evaluation.results.gather` gives them."""
    names = network_names(found)
    titles = _titles(found, names)
    charts, notes = _curves(found, names)
    differences, not_paired = _differences(found, titles)
    several = _several_networks(found, names) + not_paired
    for note in several:
        print(note, file=sys.stderr)
    return document.render(
        "report.html",
        title="Results",
        sources=published.SOURCES,
        published=[_beside(table, found, titles) for table in published.TABLES],
        several=several,
        results=[_result(result, title) for result, title in zip(found, titles, strict=True)],
        differences=differences,
        charts=charts,
        notes=notes,
        examples=[retrieval_examples.section(r, names[_place(r)]) for r in found if r.get("examples")],
    )


def network_names(found: list[dict]) -> dict[str, str]:
    """{where a network lies: a short name for it}: as few of its last folders as tell all networks apart."""
    places = sorted({_place(result) for result in found})
    for last in itertools.count(1):
        names = {place: "/".join(pathlib.PurePath(place).parts[-last:]) or place for place in places}
        if len(set(names.values())) == len(places):
            return names


def _place(result):
    """Where the network lies; `runs/fac/` and `runs/fac` are one place."""
    return str(pathlib.PurePath(result["network"].get("workdir") or result["network"].get("module") or result["path"]))


def _several_networks(found, names) -> list[str]:
    """Sentences on places whose results are of other weights or settings of the network, such as another step."""
    lines = []
    for place, name in names.items():
        measured = {}
        for result in (r for r in found if _place(r) == place):
            step = result["network"].get("step")
            title = result["protocol"] + ("" if step is None else f" (step {step})")
            measured.setdefault(results.network_identity(result), []).append(title)
        if len(measured) > 1:
            groups = "; ".join(", ".join(titles) for titles in measured.values())
            lines.append(f"{name}: these results are not of one network, but of other weights or settings: {groups}")
    return lines


def _variant(result):
    return result["settings"].get("variant") or ""


def _protocol(result):
    """The protocol without the variant of the image network, which evaluate adds to its name."""
    return result["protocol"].removesuffix(f"_{_variant(result)}") if _variant(result) else result["protocol"]


def _cell(measured: dict) -> str:
    interval = measured.get("interval")
    around = f" ({interval['low']:.1f} to {interval['high']:.1f})" if interval else ""
    return f"{measured['value']:.1f}{around}"


def _number(published: float | None) -> str:
    """A rank is a whole number, a share has one decimal."""
    return _DASH if published is None else f"{published:.1f}" if isinstance(published, float) else str(published)


def _beside(table, found, titles) -> dict:
    """A published table with our rows below, and the gin files of the columns that we have no value for."""
    rows, classes = [["", *(column.name for column in table.columns)]], []
    for name, values in table.rows:
        rows.append([f"published: {name}", *map(_number, values)])
        classes.append("")
    ours = _rows_of(table, found, titles)
    for name, row in ours.items():
        for kind, title, css in (("network", name, "ours"), ("untrained", f"{name}, untrained", "baseline")):
            cells = [row.get(column, {}).get(kind) for column in table.columns]
            if any(cells):
                rows.append([title, *(_cell(cell) if cell else _DASH for cell in cells)])
                classes.append(css)
    absent = {column.protocol for column in table.columns if not any(column in row for row in ours.values())}
    missing = [f"gin/evals/{name}.gin" for name in sorted(absent)]
    return {"title": table.title, "note": table.note, "rows": rows, "classes": classes, "missing": missing}


def _title(result, names) -> str:
    """The name of a network, with the variant of its image network and the settings that are not the protocol's."""
    variant = _variant(result)
    changed = ", ".join(
        f"{name} = {textwrap.shorten(str(used), 30)}" for name, (_, used) in result.get("changed", {}).items()
    )
    name = f"{names[_place(result)]} {_VARIANTS.get(variant, variant)}".strip()
    return name + (f" (changed: {changed})" if changed else "")


def _titles(found, names) -> list[str]:
    """A title for each result, of which each protocol has one: with the step if that of several is there, and what else
    tells apart results of one title and protocol."""
    plain = [_title(result, names) for result in found]
    steps: dict[str, set] = {}
    for title, result in zip(plain, found, strict=True):
        steps.setdefault(title, set()).add(result["network"].get("step"))
    titles: list[str] = []
    known: dict[tuple[str, str], list[dict]] = {}
    for title, result in zip(plain, found, strict=True):
        if len(steps[title]) > 1 and (step := result["network"].get("step")) is not None:
            title = f"{title} (step {step})"
        earlier = known.setdefault((title, _protocol(result)), [])
        titles.append(f"{title} ({_apart(result, earlier)})" if earlier else title)
        earlier.append(result)
    return titles


def _apart(result, earlier) -> str:
    """The records of a result, if no earlier one is of them, or else its path."""
    records = result["settings"].get("records")
    known = [one["settings"].get("records") for one in earlier]
    return result["path"] if records is None or records in known else f"records {records}"


def _rows_of(table, found, titles):
    """{title of a row: {column: {'network' or 'untrained': measured}}} of the results that fit a table."""
    rows = {}
    for (result, title), column in itertools.product(zip(found, titles, strict=True), table.columns):
        if _protocol(result) != column.protocol or column.metric not in result["measures"]:
            continue
        cells = {"network": result["network"], "untrained": result["baselines"].get("untrained", {})}
        cells = {kind: row["measures"][column.metric] for kind, row in cells.items() if "measures" in row}
        rows.setdefault(title, {})[column] = cells
    return rows


def _result(result, title) -> dict:
    """One result: the network beside its baselines, what was done, and how to do it again."""
    sides = {"network": result["network"], **result["baselines"]}
    rows = [["", *sides]]
    for measure in result["measures"]:
        cells = (_cell(row["measures"][measure]) if "measures" in row else _DASH for row in sides.values())
        rows.append([measure, *cells])
    classes = ["ours" if measure == result["metric"] else "" for measure in result["measures"]]
    notes = [
        *filter(None, [results.changes(result)]),
        *([f"network: step {result['network']['step']}"] if "step" in result["network"] else []),
        f"interval: {result['interval']['of']}",
        *result.get("notes", []),
    ]
    notes += [f"{name}: {row['not_possible']}" for name, row in result["baselines"].items() if "not_possible" in row]
    if result.get("control"):
        notes.append(control.in_words(result["control"]))
    if difference := result["network"].get("against_untrained"):
        notes.append(f"network - untrained: {_difference(difference)}")
    title = f"{title}: {result['dataset']}, {result['protocol']}"
    return {"title": title, "rows": rows, "classes": classes, "notes": notes, "command": result["command"]}


def _difference(difference):
    span = f"{difference['low']:+.1f} to {difference['high']:+.1f}"
    outside = "outside" if difference["outside_noise"] else "within"
    return f"{difference['measure']} {difference['difference']:+.1f} ({span}), {outside} noise: {difference['method']}"


def _differences(found, titles) -> tuple[list[list[str]], list[str]]:
    """Rows of a table: every two networks that were measured by one protocol on the same clips; [] for none.

    And sentences on those among them that cannot be compared outcome by outcome.
    """
    rows = [["protocol", "from", "to", "measure", "difference", "interval", "outside noise", "settings that differ"]]
    notes = []
    for (first, first_title), (second, second_title) in itertools.combinations(zip(found, titles, strict=True), 2):
        same = first["n"]["items"] == second["n"]["items"]
        if _protocol(first) != _protocol(second) or first["metric"] != second["metric"] or not same:
            continue
        if why := results.not_paired(first, second, first["metric"]):
            notes.append(why)
            continue
        first_named = dict(first, protocol=_protocol(first))
        difference = results.compare(first_named, dict(second, protocol=_protocol(second)))
        span = f"{difference['low']:+.1f} to {difference['high']:+.1f}"
        verdict = "yes" if difference["outside_noise"] else "no"
        rows.append(
            [
                _protocol(first),
                first_title,
                second_title,
                first["metric"],
                f"{difference['difference']:+.1f}",
                span,
                verdict,
            ]
        )
        apart = [*results.settings_apart(first["settings"], second["settings"])]
        rows[-1].append(", ".join([*apart, *filter(None, [difference.get("other_data")])]) or "none")
    return rows if len(rows) > 1 else [], notes


def _curves(found, names) -> tuple[list[tuple[str, dict]], list[str]]:
    """Curves of the workdirs as (title, curves), and notes on what they lack, which are told on stderr, too."""
    charts, notes = [], []
    for place in sorted({_place(r) for r in found if r["network"].get("workdir")}):
        scalars, cut = curves.finite(curves.read(place))
        notes += [f"{names[place]}: {note}" for note in cut]
        if not scalars and not cut:
            why = "has no TensorBoard scalars" if pathlib.Path(place).is_dir() else "is no folder (any more)"
            notes.append(f"{names[place]}: no curves, as {place} {why}")
        charts += [(f"{names[place]}: {title}", series) for title, series in curves.by_chart(scalars).items()]
    for note in notes:
        print(f"training curves: {note}", file=sys.stderr)
    return charts, notes
