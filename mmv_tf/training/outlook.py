"""Outlook at the end of a run: how far above chance on held-out clips, and whether more steps or more clips may help.

What probes have found on the way is a learning curve. It is read with the uncertainty of so many clips, and where that
is large nothing is said but so.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmv_tf.common import files
from mmv_tf.metrics.intervals import of_share
from mmv_tf.pages.curves import is_reverse, pair_in_words

FILE = "probes.json"  # in a workdir: [[step, {name: value}], ...]
_WIDE = 0.12  # half an interval: above, a curve of shares cannot be read
_FIRST, _ENOUGH = 5, 25  # first ones that count, of so many clips or more; of fewer the first alone
_KNOWN = 0.5  # share found in the batch from which on training clips are told apart


class History:
    """The probes of a run, over all its sittings.

    Args:
      workdir: where they are kept.
      step: that the run goes on from; what came after it is made again.
    """

    def __init__(self, workdir: str, step: int):
        import tensorflow as tf

        self._path = os.path.join(workdir, FILE)
        there = step and tf.io.gfile.exists(self._path)
        try:
            probes = json.loads(files.read_text(self._path)) if there else []
            self.probes = [(s, found) for s, found in probes if s <= step]
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{self._path} is damaged ({error}): take it away to go on without earlier probes"
            ) from None

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        self.probes = [*(one for one in self.probes if one[0] != step), (step, dict(scalars))]
        files.write_text(self._path, json.dumps(self.probes) + "\n")


def spent() -> dict[str, float]:
    """What this process has taken so far: seconds of processors, and bytes of memory at most (not of accelerators)."""
    try:
        import resource
    except ImportError:  # not on Windows
        return {}
    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"processor_seconds": round(used.ru_utime + used.ru_stime, 1), "peak_memory": used.ru_maxrss * unit}


def table(summary: Mapping, batch_size: int) -> list[str]:
    """What a run ended with, for people: the figures of its summary.json that say something by themselves."""
    rows = [
        ("steps", f"{summary['steps']:,}", f"{summary['steps_in_this_sitting']:,} in this sitting"),
        ("time", _time(summary["seconds"]), "of this sitting"),
        ("loss", f"{summary['total_loss']:.3f}", "of the last steps, summed over pairs"),
    ]
    if "clips_per_second" in summary:
        wait = f"{summary['input_wait']:.0%} of the time waiting for input" if "input_wait" in summary else ""
        rows.insert(2, ("speed", f"{summary['clips_per_second']:.0f} clips/s", wait))
    inside = _in_batch(summary)
    for name, value in summary.items():
        kind, _, pair = name.partition("/")
        if name in inside:
            what = f"of clips found among the {batch_size} of a batch; chance {1 / batch_size:.0%}"
            rows.append((pair_in_words(pair), f"{value:.0%}", what))
        elif kind == "told":
            rows.append((pair_in_words(pair), f"{value:.0%}", "of the answers are right"))
        elif kind == "nearest":
            rows.append((pair_in_words(pair), f"{value:.0%}", "of clips nearest to their own record"))
        elif kind == "spread" and value < 0.2:
            rows.append((f"spread {pair}", f"{value:.2f}", "1 is spread out, 0 one point: all but collapsed"))
    rows.append(("network", f"{summary['parameters'] / 1e6:.1f} M", "parameters"))
    if "peak_memory" in summary:
        took = f"of memory at most, and {_time(summary['processor_seconds'])} of processors"
        rows.append(("this process", f"{summary['peak_memory'] / 1e9:.1f} GB", took))
    if left_out := summary.get("bad_records"):
        rows.append(("left out", f"{len(left_out)}", "records that could not be read: bad_records-*.json"))
    return [f"  {name:<22}{value:>12}  {what}".rstrip() for name, value, what in rows]


def _in_batch(logs: Mapping[str, float]) -> dict[str, float]:
    """{accuracy/<pair>: share that is found in the batch}, without the reverses."""
    found = {name: value for name, value in logs.items() if name.startswith("accuracy/")}
    return {name: value for name, value in found.items() if not is_reverse(name, found)}


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def sentences(clips: int, passes: float, probes: Sequence, logs: Mapping[str, float], batch_size: int) -> list[str]:
    """What an honest person would say of a run.

    Args:
      clips: that it was trained on.
      passes: how often each was seen.
      probes: of `History`.
      logs: of the last loop: accuracy/... in the batch.
      batch_size: of which the batch has clips.
    """
    lines = [
        f"trained on {clips:,} clips, each seen {passes:,.0f} times" if passes >= 2 else f"trained on {clips:,} clips"
    ]
    ways = _ways(probes[-1][1]) if probes else []
    if not ways:
        return [*lines, "nothing is known of how well it does on other clips: there are no held-out ones (Probe)"]
    for way in ways:
        low, high = of_share(way.share, way.count)
        what = f"{way.said} {way.share:.0%} (95 %: {low:.0%} to {high:.0%})"
        verdict = (
            "" if low > way.chance else ", too few to tell from it" if high > way.chance else ", which it is below"
        )
        lines.append(f"{what}, chance {way.chance:.0%}{verdict}")
    return [*lines, _curve(probes, logs, batch_size)]


class _Way(NamedTuple):
    """One measure of a probe, on `count` held-out clips; is_found: by retrieval, and not told by neighbours."""

    said: str
    is_found: bool
    share: float
    chance: float
    count: int


def _ways(scalars, first: int = _FIRST) -> list[_Way]:
    """Retrieval, where the `first` ones count if there are clips for it, and neighbours, in the order of the probe."""
    found = []
    for name, clips in scalars.items():
        is_found = name.startswith("probe/retrieval/") and name.endswith("/clips")
        if is_found:
            key, count = name.removesuffix("/clips"), int(clips)
            recall = first if count >= _ENOUGH else 1
            way = key.removeprefix("probe/retrieval/").replace("_to_", " -> ").replace("_", " ")
            said, key = f"{way}: among the first {recall} of {count} held-out clips", f"{key}/R@{recall}"
        elif name.startswith("probe/knn/") and name.endswith("_clips"):
            key, count = name.removesuffix("_clips"), int(clips)
            said = f"{key.removeprefix('probe/knn/')}: neighbours tell the label of {count} held-out clips"
        else:
            continue
        found.append(_Way(said, is_found, float(scalars[key]), float(scalars[f"{key}_chance"]), count))
    return found


def _curve(probes, logs, batch_size) -> str:
    """Of retrieval, if that was probed: it asks for more than labels do. All of it by one measure on the same clips."""
    found = [way for way in _ways(probes[-1][1]) if way.is_found]
    first = _FIRST if all(way.count >= _ENOUGH for way in found) else 1
    ways = [[way for way in _ways(scalars, first) if way.is_found == bool(found)] for _, scalars in probes]
    asked = [{way.said for way in of_probe} for of_probe in ways]  # measures, with their numbers of clips
    same = [number for number, said in enumerate(asked) if said == asked[-1]]
    values = [(probes[number][0], float(np.mean([way.share for way in ways[number]]))) for number in same]
    return _in_words(values, ways[-1][0].count, logs, batch_size) + _left_out(len(probes) - len(same))


def _left_out(count: int) -> str:
    earlier = "1 earlier probe is" if count == 1 else f"{count} earlier probes are"
    return f"; {earlier} left out, being of other pairs or numbers of clips" if count else ""


def _in_words(values, count: int, logs, batch_size: int) -> str:
    """What a curve [(step, share)] of so many clips shows."""
    (first_step, _), (last_step, last) = values[0], values[-1]
    low, high = of_share(last, count)
    shown = ", ".join(f"{share:.0%}" for _, share in values)
    if len(values) < 3:
        return "too few probes for a learning curve (Probe.every)"
    if (high - low) / 2 > _WIDE:
        return f"{count} held-out clips are too few to read a learning curve from ({shown})"
    # Of what was probed: probing may have begun late in the run.
    earlier = [share for step, share in values if step <= first_step + 0.75 * (last_step - first_step)][-1]
    # Of the same clips, so that the difference is surer than either; half an interval is a careful bound.
    rise = last - earlier
    if rise > (high - low) / 4:
        return f"on held-out clips it was still rising at the end ({shown}): more steps may help (STEPS)"
    inside = list(_in_batch(logs).values())
    if inside and np.mean(inside) > max(_KNOWN, 3 / batch_size):
        return (
            f"on held-out clips it no longer rises ({shown}), while {np.mean(inside):.0%} are found in a batch of "
            f"{batch_size} of those it is trained on: more clips may help, more steps hardly"
        )
    return f"on held-out clips it no longer rises ({shown}): whether more clips help is not to be seen from here"
