"""A result as a JSON file: what was measured, beside its baselines, without which it is neither written nor shown.

The schema, with an example, is in docs/evaluation.md.
"""

import base64
import hashlib
import json
import pathlib
import reprlib
import zlib

import numpy as np

from mmv_tf.common import files
from mmv_tf.metrics import control
from mmv_tf.metrics import intervals as statistics
from mmv_tf.metrics.classification import Measure

SCHEMA = 1
REQUIRED = ("schema", "protocol", "dataset", "metric", "value", "interval", "n", "measures", "network", "baselines")
REQUIRED += ("folds", "settings", "gin", "versions", "command")
# Retrieval compares modalities in a common space, which raw features do not have.
BASELINES = dict.fromkeys(("ZeroShotRetrieval", "FineTune", "FineTuneAudio"), ("chance", "untrained"))
MOST_BASELINES = ("chance", "untrained", "raw")
NOT_POSSIBLE = "not_possible"

# What a page or `compare` takes from a result: a type (float is any number), [what each of a list is], the two of a
# pair, or {key: what it has}. '*' is any key, and what has a '?' may be missing or {}.
_INTERVAL = {"low": float, "high": float}
_ROW = {"measures?": {"*": {"value": float, "interval?": _INTERVAL}}, f"{NOT_POSSIBLE}?": str}
_NETWORK = {"workdir?": str, "module?": str, "identity?": str, "checksum_of_files?": str, "seeds?": int}
_DIFFERENCE = {**_INTERVAL, "measure": str, "difference": float, "outside_noise": bool, "method": str}
_EXAMPLE = {"pair": str, "query": {"key": str}, "found": [{"key": str, "right": bool}], "rank": int}
_RESULT = {
    **dict.fromkeys(("protocol", "dataset", "metric", "command"), str),
    "interval": {"of": str},
    "n": {"items": str},
    "measures": {"*": {"outcome": str, "summary": str}},
    "network": {**_ROW, **_NETWORK, "against_untrained?": _DIFFERENCE},
    "baselines": {"*": _ROW},
    "settings": {"variant?": str | None},
    "data?": str,
    "control?": dict.fromkeys(("value", "noise", "clips"), float),
    "notes?": [str],
    "left_out?": {"*": int},
    "changed?": {"*": (object, object)},
    "examples?": [_EXAMPLE],
}


def make_row(measures, outcomes, about="", seeds=1, groups=None, **options) -> dict:
    """One network or baseline: its measures with intervals, and its outcomes.

    Args:
      measures: list of Measure.
      outcomes: {name: [array [N], one a fold; of several seeds those of a fold one after another]}.
      seeds: how many runs each fold has, on the same items.
      groups: {name: [array [N], one a fold]}: which outcomes are of one clip, and are drawn together.
      options: of `mmv_tf.metrics.intervals.bootstrap`.
    """
    found, groups = {}, groups or {}
    for measure in measures:
        folds = by_fold(outcomes[measure.outcome], seeds)
        values = [measure.value(run) for run in outcomes[measure.outcome]]
        confidence, together = options.get("confidence", 0.95), groups.get(measure.outcome)
        drawn = statistics.bootstrap(measure, folds, groups=together, **options)
        of = f"{confidence:.0%} bootstrap over {statistics.over(measure, folds, together)}"
        intervals = [{"low": drawn[0], "high": drawn[1], "of": of}]
        if over := statistics.t_interval(measure, folds, confidence):
            low, high, of = over
            if measure.unit == "%":
                low, high = max(low, 0.0), min(high, 100.0)
            intervals.insert(0, {"low": low, "high": high, "of": of})
        value = statistics.mean_of_folds(measure, folds)
        found[measure.name] = {"value": value, "values": values, "interval": intervals[0], "intervals": intervals}
    packed = {name: [pack(fold) for fold in folds] for name, folds in outcomes.items()}
    row = {"measures": found, "outcomes": packed, "seeds": seeds} | ({"about": about} if about else {})
    together = {name: [pack(fold) for fold in folds] for name, folds in groups.items()}
    return row | ({"groups": together} if together else {})


def by_fold(runs: list, seeds: int) -> list[np.ndarray]:
    """Outcomes [N] of runs, fold after fold and in each seed after seed, as an array [N, seeds] a fold."""
    return [np.stack(runs[i : i + seeds], axis=1) for i in range(0, len(runs), seeds)]


def make_chance(measures, outcomes, about: str) -> dict:
    """What knowing nothing gives: values alone."""
    values = {m.name: [m.value(fold) for fold in outcomes[m.outcome]] for m in measures}
    return {"measures": {n: {"value": float(np.mean(v)), "values": v} for n, v in values.items()}, "about": about}


def pack(outcomes: np.ndarray) -> str:
    """Outcomes as text: kind, number and compressed values; `unpack` gives them back (float64 as float32)."""
    outcomes = np.asarray(outcomes)
    if outcomes.dtype == bool:
        kind, content = "bool", np.packbits(outcomes)
    elif np.array_equal(outcomes, np.asarray(outcomes, np.uint32)):
        kind, content = "uint32", outcomes.astype("<u4")
    else:
        kind, content = "float32", outcomes.astype("<f4")
    return f"{kind}:{len(outcomes)}:{base64.b64encode(zlib.compress(content.tobytes(), 9)).decode()}"


def unpack(text: str) -> np.ndarray:
    """What `pack` was given."""
    kind, count, content = text.split(":")
    content = zlib.decompress(base64.b64decode(content))
    if len(content) != (-(-int(count) // 8) if kind == "bool" else 4 * int(count)):
        raise ValueError(f"{len(content)} bytes for {count} outcomes")
    if kind == "bool":
        return np.unpackbits(np.frombuffer(content, np.uint8), count=int(count)).astype(bool)
    return np.frombuffer(content, {"uint32": "<u4", "float32": "<f4"}[kind]).astype(np.float64)


def identity(items) -> str:
    """A digest of what was measured on: the keys of the items in their order."""
    return hashlib.sha256("\n".join(items).encode()).hexdigest()[:16]


def validate(result: dict) -> None:
    """Checks that a result holds all that it must, its baselines above all.

    Raises:
      ValueError: names what is missing or cannot be.
    """
    name = result.get("protocol", "?")
    missing = [key for key in REQUIRED if key not in result]
    if missing:
        raise ValueError(f"the result of {name} lacks {missing[0]!r}: it is neither written nor shown")
    if wrong := _wrong(result, _RESULT):
        raise ValueError(f"the result of {name}: {wrong}")
    wanted = BASELINES.get(result["settings"].get("class"), MOST_BASELINES)
    for baseline in dict.fromkeys((*wanted, *result["baselines"])):
        row = result["baselines"].get(baseline)
        if not row:
            raise ValueError(f"the result of {name} lacks the baseline {baseline!r}: it is neither written nor shown")
        if row.get(NOT_POSSIBLE) and (baseline == "untrained" or baseline not in wanted):
            continue
        absent = [
            m for m in result["measures"] if not np.isfinite(row.get("measures", {}).get(m, {}).get("value", np.nan))
        ]
        if absent:
            raise ValueError(f"the result of {name}: its baseline {baseline!r} lacks {absent[0]!r}")
    for measure in result["measures"]:
        if not np.isfinite(result["network"].get("measures", {}).get(measure, {}).get("value", np.nan)):
            raise ValueError(f"the result of {name} lacks a value of {measure!r}")
    if result["metric"] not in result["measures"]:
        raise ValueError(f"the result of {name}: {result['metric']!r} is none of its measures")
    for measure, parts in result["measures"].items():
        try:
            _check_outcomes(result["network"], Measure(measure, **parts))
        except (ValueError, TypeError, AttributeError, LookupError, zlib.error) as error:
            raise ValueError(f"the result of {name}: bad outcomes of {measure!r}: {error!r}") from None


def _wrong(part, form, place: str = "") -> str:
    """What is missing in a part of a result, or no such thing as its form says (see `_RESULT`); '' for nothing."""
    if isinstance(form, dict | list | tuple):
        fits = isinstance(part, dict if isinstance(form, dict) else list | tuple)
        fits = fits and (not isinstance(form, tuple) or len(part) == len(form))
    elif form in (int, float):  # of more digits than a float has room for, no number can be shown
        fits = isinstance(part, int | form) and not isinstance(part, bool) and not abs(part) > 1e300
    else:
        fits = isinstance(part, form)
    if not fits:
        return f"{place!r} cannot be {reprlib.repr(part)}"
    inner = []
    if isinstance(form, dict) and "*" in form:
        inner = [(key, form["*"]) for key in part]
    elif isinstance(form, dict):
        absent = [key for key in form if not key.endswith("?") and key not in part]
        if absent:
            return f"{f'{place}.{absent[0]}'.lstrip('.')!r} is missing"
        inner = [(key, of) for key, of in form.items() if not key.endswith("?")]
        maybe = [(key.removesuffix("?"), of) for key, of in form.items() if key.endswith("?")]
        inner += [(key, of) for key, of in maybe if key in part and not (isinstance(of, dict) and part[key] == {})]
    elif isinstance(form, list | tuple):
        inner = [*enumerate(form if isinstance(form, tuple) else form * len(part))]
    return next(filter(None, (_wrong(part[key], of, f"{place}.{key}".lstrip(".")) for key, of in inner)), "")


def _check_outcomes(row: dict, measure: Measure) -> None:
    folds, groups = outcomes(row, measure), _groups(row, measure)
    if not folds or not all(map(len, folds)):
        raise ValueError("there are none")
    if groups and [*map(len, groups)] != [*map(len, folds)]:
        raise ValueError("their groups are of other items")
    statistics.of_folds(measure, folds)


def write(path: str, result: dict) -> None:
    """Writes a valid result, whole or not at all."""
    validate(result)
    files.write_text(path, json.dumps(result, indent=1) + "\n")


def read(path: str) -> dict:
    """Reads and checks a result.

    Raises:
      ValueError: no JSON, a newer schema, or incomplete; names the file.
    """
    try:
        result = json.loads(files.read_text(path))
        if result["schema"] > SCHEMA:
            raise ValueError(f"schema {result['schema']} is newer than {SCHEMA}: update mmv_tf")
        validate(result)
    except KeyError as error:
        raise ValueError(f"{path}: no result that `mmv_tf evaluate` wrote: it has no {error.args[0]!r}") from None
    # Among them what deep brackets and long numbers end in.
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from None
    return result


def outcomes(row: dict, measure: Measure) -> list[np.ndarray]:
    """The outcomes of a network or baseline, as `by_fold` gives them."""
    return by_fold([unpack(text) for text in row["outcomes"][measure.outcome]], row.get("seeds", 1))


def _groups(row: dict, measure: Measure) -> list[np.ndarray] | None:
    """Which outcomes are of one clip, a fold; None: each is of one of its own."""
    packed = row.get("groups", {}).get(measure.outcome)
    return packed and [unpack(text) for text in packed]


def compare(first: dict, second: dict, measure: str = "", **options) -> dict:
    """Whether `second` differs from `first` by more than noise: two results of one protocol on the same items.

    Args:
      measure: name; '' is the results' main one.
      options: of `mmv_tf.metrics.intervals.paired_difference`.
    Returns:
      {'measure', 'difference', 'low', 'high', 'outside_noise': the interval does not hold 0, 'method'}, and
      'other_data', a sentence, where the keys of the records are the same and their contents are not.
    Raises:
      ValueError: not the same protocol, measure, items or numbers of outcomes (see `not_paired`).
    """
    measure = measure or first["metric"]
    for result in (first, second):
        if measure not in result["measures"]:
            raise ValueError(f"{result['protocol']} has no measure {measure!r}; it has {', '.join(result['measures'])}")
    if first["protocol"] != second["protocol"] or first["n"]["items"] != second["n"]["items"]:
        raise ValueError(
            f"{first['protocol']} and {second['protocol']} were not measured on the same clips: nothing can be compared"
        )
    if why := not_paired(first, second, measure):
        raise ValueError(why)
    found = compare_rows(first["network"], second["network"], Measure(measure, **first["measures"][measure]), **options)
    return found | ({"other_data": OTHER_DATA} if are_of_other_data(first, second) else {})


def not_paired(first: dict, second: dict, measure: str) -> str:
    """Why outcomes on the same clips cannot be compared one by one, naming both results; '' if they can.

    A clip can have several queries, or fewer classes: the digest of the clips does not tell.
    """
    counts, named = [], []
    for result in (first, second):
        of = Measure(measure, **result["measures"][measure])
        folds = [len(fold) for fold in outcomes(result["network"], of)]
        counts.append(f"{' + '.join(map(str, folds))} {of.items}")
        place = result.get("path") or result["network"].get("workdir") or result["network"].get("module", "")
        named.append(f"{result['protocol']}{f' ({place})' if place else ''}")
    if counts[0] == counts[1]:
        return ""
    return (
        f"{named[0]} and {named[1]} are of the same clips, but {measure} is over {counts[0]} in the first and over "
        f"{counts[1]} in the second: nothing can be compared"
    )


OTHER_DATA = "the records have the same keys and other contents"


def are_of_other_data(first: dict, second: dict) -> bool:
    """Whether two results are known to come from records with other contents."""
    return len({result["data"] for result in (first, second) if "data" in result}) > 1


def network_identity(result: dict) -> str:
    """The identity of the network that was measured; '' where the result does not tell (of an earlier version)."""
    return result["network"].get("identity") or result["network"].get("checksum_of_files", "")


def compare_rows(first: dict, second: dict, measure: Measure, **options) -> dict:
    """`compare` of two rows of one result, such as a baseline and the network."""
    sides = [outcomes(row, measure) for row in (first, second)]
    groups = _groups(first, measure)
    difference, low, high = statistics.paired_difference(measure, *sides, groups=groups, **options)
    return {
        "measure": measure.name,
        "difference": difference,
        "low": low,
        "high": high,
        "outside_noise": bool(low > 0 or high < 0),
        "method": f"{options.get('confidence', 0.95):.0%} paired bootstrap over "
        + statistics.over(measure, sides[0], groups),
    }


def settings_apart(first: dict, second: dict) -> dict[str, list]:
    """{setting: [of the first, of the second]} where two protocols differ, but for where things lie.

    The variant of an image network is left out, too: it is part of a result's name.
    """
    sides = [_flat({k: v for k, v in side.items() if k not in _NOT_COMPARED}) for side in (first, second)]
    names = sorted(set().union(*sides))
    return {name: [side.get(name) for side in sides] for name in names if sides[0].get(name) != sides[1].get(name)}


_NOT_COMPARED = ("records", "prepare", "variant", "evaluation")


def _flat(settings):
    """Settings of a classifier as 'classifier.C'."""
    nested = {k: v for k, v in settings.items() if isinstance(v, dict)}
    flat = {f"{name}.{inner}": value for name, values in nested.items() for inner, value in values.items()}
    return flat | {k: v for k, v in settings.items() if k not in nested}


def changes(result: dict) -> str:
    """A sentence on the settings that are not those of the protocol's file; '' if all are."""
    listed = ", ".join(f"{name} = {used} (not {usual})" for name, (usual, used) in result.get("changed", {}).items())
    return f"not the protocol of gin/evals/{result['protocol']}.gin: {listed}" if listed else ""


def table(result: dict) -> str:
    """A result for a console. Raises ValueError where `validate` does."""
    validate(result)
    columns = [["", *result["measures"]]]
    for name, row in [("network", result["network"]), *result["baselines"].items()]:
        cells = ["-" if row.get(NOT_POSSIBLE) else _cell(row["measures"][measure]) for measure in result["measures"]]
        columns.append([name, *cells])
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    n, interval = result["n"], result["interval"]["of"]
    counts = f"; {n['test']} test clips, {n['classes']} classes" if n.get("classes") else ""
    lines.append(f"in brackets: {interval}{counts}")  # how many queries and targets a retrieval has, its notes say
    untrained = result["baselines"].get("untrained", {})
    if untrained.get(NOT_POSSIBLE):
        lines.append(f"untrained: {untrained[NOT_POSSIBLE]}")
    else:
        difference = result["network"]["against_untrained"]
        outside = "outside" if difference["outside_noise"] else "within"
        lines.append(
            f"network - untrained, {result['metric']}: {difference['difference']:+.1f} ({difference['low']:+.1f} to "
            f"{difference['high']:+.1f}), {outside} noise ({difference['method']})"
        )
    if result.get("control"):
        lines.append(control.in_words(result["control"]))
    left_out = [f"{reason} {count}" for reason, count in result.get("left_out", {}).items() if count]
    if left_out:
        lines.append(f"left out: {', '.join(left_out)}")
    return "\n".join([*lines, *result.get("notes", []), *filter(None, [changes(result)])])


def _cell(found: dict) -> str:
    interval = found.get("interval")
    around = f" ({interval['low']:.1f} to {interval['high']:.1f})" if interval else ""
    return f"{found['value']:.1f}{around}"


def gather(places: list[str]) -> list[dict]:
    """The results of workdirs, folders and files, checked; each with its 'path'.

    Raises:
      ValueError: a place without results, or a result that is not whole (a missing baseline above all); names it.
    """
    paths = {}
    for place in map(pathlib.Path, places):
        if not place.exists():
            raise ValueError(f"--results {place}: no such file or folder")
        # The other files of JSON in a workdir are no results.
        is_workdir = (place / "results").is_dir() or (place / "config.gin").is_file()
        folder = place / "results" if is_workdir else place
        found = [place] if place.is_file() else sorted(folder.glob("*.json"))
        if not found:
            how = f"`python -m mmv_tf.evaluate --workdir {place} --gin_file=gin/evals/NAME.gin` makes one"
            raise ValueError(f"--results {place}: no result in it; {how}")
        paths |= dict.fromkeys(found)
    return [read(str(path)) | {"path": str(path)} for path in paths]
