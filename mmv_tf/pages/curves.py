"""Training curves, from the TensorBoard files of a run."""

import math
import pathlib
from collections.abc import Container

_ARROW = "\u2192"


def read(workdir: str) -> dict[str, list[tuple[int, float]]]:
    """{scalar: [(step, value)]} of all TensorBoard files below a folder; of a step written twice, the later value."""
    import numpy as np
    import tensorflow as tf
    from tensorflow.python.summary.summary_iterator import summary_iterator

    curves: dict[str, dict[int, float]] = {}
    for path in sorted(pathlib.Path(workdir).rglob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime):
        for event in summary_iterator(str(path)):
            for value in event.summary.value:
                number = tf.make_ndarray(value.tensor) if value.HasField("tensor") else value.simple_value
                if np.ndim(number) == 0 and np.issubdtype(np.asarray(number).dtype, np.number):
                    curves.setdefault(value.tag, {})[event.step] = float(number)
    return {tag: sorted(points.items()) for tag, points in sorted(curves.items())}


def finite(scalars: dict[str, list[tuple[int, float]]]) -> tuple[dict[str, list[tuple[int, float]]], list[str]]:
    """(the curves up to their first NaN or Inf, without those that begin so; a sentence on each that was cut)."""
    kept, notes = {}, []
    for tag, curve in scalars.items():
        bad = next((place for place, (_, value) in enumerate(curve) if not math.isfinite(value)), None)
        if bad is not None:
            step, value = curve[bad]
            notes.append(f"{tag} is {value} at step {step}" + (": shown up to there" if bad else ": not shown"))
        if curve[:bad]:
            kept[tag] = curve[:bad]
    return kept, notes


def is_reverse(name: str, names: Container[str]) -> bool:
    """Whether, of the scalars that are called `names`, this one is of a pair's reverse: views may be called so, too."""
    forward = name.removesuffix("_reverse")
    return forward != name and forward in names and not is_reverse(forward, names)


def by_chart(scalars: dict[str, list]) -> dict[str, dict[str, list]]:
    """The scalars of a training in two charts: losses, and how often the right one of the batch was nearest."""
    charts: dict = {"loss": {}, "right one of the batch is nearest": {}}
    pairs = {tag.removeprefix("accuracy/") for tag in scalars if tag.startswith("accuracy/")}
    for tag, curve in scalars.items():
        if "loss" in tag and tag != "loss_scale":
            charts["loss"][tag.removeprefix("loss/").replace("_", " ")] = curve
        elif tag.startswith("accuracy/"):
            name = _direction(tag.removeprefix("accuracy/"), pairs)
            charts["right one of the batch is nearest"][name] = curve
    return {title: curves for title, curves in charts.items() if curves}


def _direction(logged: str, pairs: set[str]) -> str:
    """A pair, or its reverse, which is turned round where that is no other pair's name."""
    if not is_reverse(logged, pairs):
        return pair_in_words(logged, _ARROW)
    pair = logged.removesuffix("_reverse")
    turned = "_".join(reversed(pair.split("_")))
    if pair.count("_") == 1 and turned not in pairs:
        return pair_in_words(turned, _ARROW)
    return f"{pair_in_words(pair, _ARROW)} reverse"


def pair_in_words(name: str, arrow: str = " -> ") -> str:
    """With an arrow between two modalities; names of views have underscores of their own, and stay."""
    return name.replace("_", arrow) if name.count("_") == 1 else name
