"""The content of a model card: records, run and results, from files that may be there or not."""

import fnmatch
import json
import os
import re

from mmv_tf.export.markdown import bullets, escape, fenced, table

RESULTS = "results"  # folder of a workdir; each *.json in it is a table of the card
DATA_LICENSE = "DATA_LICENSE.txt"
_MOST_ROWS = 200


def bindings(config_text: str, name: str) -> dict[str, str]:
    """{parameter: value as text} of one configurable in an operative configuration; macros are looked up."""
    text = config_text.replace("\\\n", "")
    found = dict(re.findall(rf"^(?:[\w.]+/)*{re.escape(name)}\.(\w+) = (.+)$", text, re.MULTILINE))
    macros = dict(re.findall(r"^([A-Z_]\w*) = (.+)$", text, re.MULTILINE))
    return {key: macros.get(value[1:], value) if value.startswith("%") else value for key, value in found.items()}


def describe_sources(sources, names) -> str:
    """The records that a run read: what the dataset.json beside each set says now, or that it cannot be read."""
    if not sources:
        return "The configuration names no records: the weights were not trained by this run."
    parts = []
    for source, name in zip(sources, names, strict=True):
        patterns = [source.pattern] if isinstance(source.pattern, str) else list(source.pattern)
        for pattern in (one for several in patterns for one in _by_folder(several)):
            parts.append(f"**{escape(name)}** (weight {source.weight:g}), records {escape(pattern)}:\n")
            parts.append(bullets(_describe_records(pattern)) + "\n")
    return "\n".join(parts)


def _by_folder(pattern: str) -> list[str]:
    """A pattern for each of the folders that a pattern means: each has a dataset.json of its own."""
    from mmv_tf.common import paths

    folder, name = os.path.split(pattern)
    if not any(character in folder for character in "*?["):
        return [pattern]
    folders = sorted({os.path.dirname(file) for file in paths.matching(pattern)})
    return [os.path.join(one, name) for one in folders] or [pattern]


def _describe_records(pattern: str) -> list[str]:
    from mmv_tf.common import files
    from mmv_tf.records import card as dataset_card

    folder, name = os.path.split(pattern)
    try:
        card = dataset_card.load(folder, read_text=lambda path: _read(path, files))
    except ValueError as error:
        return [f"The records cannot be described: {escape(error)}. What they held when the network was trained, "
                "this card does not know."]  # fmt: skip
    splits = {key: split for key, split in card.splits.items() if fnmatch.filter(split.shards, name)}
    if not splits:
        return ["The dataset.json beside them names no such shards: this card does not know what they held."]
    lines = [f"stored at {card.frame_rate:g} frames/s, short side {card.short_side} pixels at most, "
             f"sound at {card.sample_rate} Hz"]  # fmt: skip
    for key, split in sorted(splits.items()):
        records = sum(split.shards[shard] for shard in fnmatch.filter(split.shards, name))
        counters = split.counters
        lines.append(f"split {escape(key)}: {records} clips{_hours(counters)}")
        has = ("with_video", "with_sound", "silent", "with_captions", "with_labels")
        if known := [f"{counters[part]} {part.replace('_', ' ')}" for part in has if part in counters]:
            lines.append("of them " + ", ".join(known))
        if "read" in counters:
            reasons = ", ".join(f"{number} {escape(why)}" for why, number in counters.get("reasons", {}).items())
            lines.append(
                f"{counters['read']} clips were read, {counters.get('rejected', 0)} rejected"
                + (f" ({reasons})" if reasons else "")
            )
        if "clip_seconds" in split.settings:
            lines.append(f"whole videos were cut into clips of about {split.settings['clip_seconds']:g} s")
    return lines


def _read(path, files):
    import tensorflow as tf

    try:
        return files.read_text(path)
    except tf.errors.NotFoundError:
        raise FileNotFoundError(path) from None
    except tf.errors.OpError as error:
        raise ValueError(error.message) from None


def _hours(counters) -> str:
    if "milliseconds" not in counters:
        return ", hours not counted"
    hours = counters["milliseconds"] / 3.6e6
    return f", {hours:.1f} hours" if hours >= 10 else f", {hours:.3g} hours ({counters['milliseconds'] / 1000:.0f} s)"


def describe_json(path: str) -> str:
    """The numbers of a JSON file as a table of its paths and values; '' if there is no such file."""
    import tensorflow as tf

    from mmv_tf.common import files

    if not tf.io.gfile.exists(path):
        return ""
    try:
        content = json.loads(files.read_text(path))
    except ValueError as error:
        return f"{escape(os.path.basename(path))} cannot be read: {escape(error)}"
    rows = list(_flatten(content))
    text = table(("what", "value"), rows[:_MOST_ROWS])
    return text if len(rows) <= _MOST_ROWS else f"{text}\n\n{len(rows) - _MOST_ROWS} more values are left out."


def _flatten(content, prefix=""):
    """(path, value) of every leaf; lists of numbers are kept whole if short, else counted."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _flatten(value, f"{prefix} / {key}" if prefix else str(key))
    elif isinstance(content, list):
        simple = all(isinstance(value, (int, float, str, bool)) for value in content)
        yield prefix, ", ".join(map(_number, content)) if simple and len(content) <= 8 else f"{len(content)} values"
    else:
        yield prefix, _number(content)


def _number(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def describe_results(workdir: str, loaded) -> str:
    """The results/*.json of a run, one table a file; '' if there are none.

    A result of other weights or settings than those of `loaded` is named and not shown; one that does not tell which
    network it is of (of an earlier version) is shown with a sentence that says so.
    """
    from mmv_tf.common import paths

    parts = []
    for path in paths.matching(os.path.join(workdir, RESULTS, "*.json")):
        why = _other_network(path, loaded)
        shown = f"{why}: its numbers are not shown. Evaluate again." if why else describe_json(path)
        if why is None:
            shown = f"The file does not say which weights it is of.\n\n{shown}"
        parts.append(f"### {escape(os.path.basename(path).removesuffix('.json'))}\n\n{shown}")
    return "\n\n".join(parts)


def _other_network(path: str, loaded) -> str | None:
    """Why a result is of another network than `loaded`; '' if it is of this one, None if it does not tell."""
    from mmv_tf.common import files

    try:
        network = json.loads(files.read_text(path))["network"]
        theirs, step = network.get("identity", ""), network.get("step", loaded.step)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""  # no result, or none that can be read: `describe_json` says so
    if step != loaded.step:
        return f"This result is of other weights (step {step}, and these are of step {loaded.step})"
    if theirs and theirs != loaded.identity:
        return "This result is of other weights or other settings of the network"
    return "" if theirs else None


def describe_of_step(path: str, step: int, key: str) -> str:
    """`describe_json` of a file that says under `key` which step it is of; a sentence where that is another one."""
    text = describe_json(path)
    if not text:
        return ""
    from mmv_tf.common import files

    try:
        told = json.loads(files.read_text(path)).get(key)
    except (ValueError, AttributeError):
        return text
    if told in (None, step):
        return text
    return f"{escape(os.path.basename(path))} is of step {told}, and these weights are of step {step}: it is not shown."


def licence(path: str, otherwise: str) -> str:
    """The text of a licence note, as it is; `otherwise` if there is none."""
    import tensorflow as tf

    from mmv_tf.common import files

    return fenced(files.read_text(path), "text") if tf.io.gfile.exists(path) else otherwise
