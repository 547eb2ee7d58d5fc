"""The checks of dataset.json: it lies beside the records, and whoever could change them could change it."""

import json
import re

MAX_BYTES = 256 << 20
MAX_RECORDS = 1 << 31  # of a shard
MAX_SAMPLE_RATE = 1e9  # Hz
_MAX_NUMBER = 1 << 53  # a JSON number that is a count
_SPLIT = re.compile(r"[\w-]{1,100}")


def parse(text: str | bytes) -> dict:
    """The JSON object. ValueError: none, one that is too large, a NaN, or nested too deep."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES} characters")

    def refuse(constant):
        raise ValueError(f"{constant} is no number")

    try:
        fields = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(fields, dict):
        raise ValueError("no object")
    return fields


def check(fields: dict) -> None:
    """Checks types and ranges of the fields that are there.

    Raises:
      ValueError: names the first field that is wrong, and shows it.
    """
    _number(fields, "frame_rate", 1e6)
    _number(fields, "sample_rate", MAX_SAMPLE_RATE, whole=True)
    _number(fields, "short_side", 1e6, whole=True)
    _counts(fields, "label_map")
    ids = list(fields.get("label_map", {}).values())
    if len(set(ids)) < len(ids):
        raise ValueError("label_map: two labels have the same id")
    _texts(fields, "versions")
    for name in _object(fields, "splits"):
        if not _SPLIT.fullmatch(name):
            raise ValueError(f"splits: {name[:50]!r} is no name of a split")
        where = f"splits/{name}"
        _check_split(_object(fields["splits"], name, where), f"{where}/")


def _check_split(split, where):
    _counts(split, "shards", where, MAX_RECORDS)
    for name in split.get("shards", {}):
        if not name or name in (".", "..") or re.search(r"[/\\\0\n]", name):
            raise ValueError(f"{where}shards: {name[:50]!r} is no name of a file in this folder")
    counters = _object(split, "counters", f"{where}counters")
    by_code = ("reasons", "remarks")
    for name in by_code:
        _counts(counters, name, f"{where}counters/")
    _counts({"counters": {n: v for n, v in counters.items() if n not in by_code}}, "counters", where)
    _counts(split, "word_counts", where)
    settings = _object(split, "settings", f"{where}settings")
    _texts(settings, "sha256", f"{where}settings/")
    if not _is_count(settings.get("max_captions", 0), _MAX_NUMBER):
        raise ValueError(f"{where}settings/max_captions: {_shown(settings['max_captions'])} is no count")


def _object(fields, name, where=None):
    found = fields.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{where or name}: {_shown(found)} is no object")
    return found


def _number(fields, name, most, whole=False):
    if name not in fields:
        return  # whoever needs it says so
    value = fields[name]
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value <= most:
        raise ValueError(f"{name}: {_shown(value)} is no {'whole ' if whole else ''}number from 0 to {most:g}")


def _is_count(value, most):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _counts(fields, name, where="", most=_MAX_NUMBER):
    for key, value in _object(fields, name, where + name).items():
        if not _is_count(value, most):
            raise ValueError(f"{where}{name}: {_shown(value)} of {key[:100]!r} is no count")


def _texts(fields, name, where=""):
    for key, value in _object(fields, name, where + name).items():
        if not isinstance(value, str):
            raise ValueError(f"{where}{name}: {_shown(value)} of {key[:100]!r} is no text")


def _shown(value):
    return json.dumps(value)[:60]
