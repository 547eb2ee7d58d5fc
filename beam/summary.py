"""The outcome of a run: counters, dead letters, and the lines that end it."""

import collections
import resource
import time
from typing import NamedTuple

from mmv_tf.beam.specs import Rejection
from mmv_tf.records.card import Remark


class Done(NamedTuple):
    """The sum of the reports of all shards."""

    records: dict[str, int]  # shard -> records
    sha256: dict[str, str]  # shard -> checksum
    bytes: int
    counters: dict  # read, accepted, rejected, reasons {code: number}, and those of decode_source
    words: collections.Counter
    dead: list[Rejection]  # sorted


class Cost:
    """A context that measures what goes on in it.

    Args:
      in_process: the work is done by this process and its children, whose processor time is then known.
    """

    def __init__(self, in_process):
        self._in_process = in_process
        self.seconds = 0.0
        self.cpu_seconds = None

    def __enter__(self):
        self._began, self._cpu = time.monotonic(), _cpu_seconds()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self._began
        if self._in_process:
            self.cpu_seconds = _cpu_seconds() - self._cpu


def _cpu_seconds():
    """Processor time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def summarize(reports, inputs):
    """Counts of a run, and its dead letters.

    Args:
      reports: iterable of those of the shards, from pipeline.read_reports().
      inputs: specs.Inputs, read to the end; the remarks of the workers are added to its own.
    Returns:
      Done.
    Raises:
      AssertionError: accepted + rejected differs from what was read.
    """
    records, sha256, dead, size, read = {}, {}, list(inputs.rejections), 0, len(inputs.rejections)
    counters, words = collections.Counter(), collections.Counter()
    for report in reports:
        records[report["name"]], sha256[report["name"]] = report["records"], report["sha256"]
        dead += [Rejection(*rejection) for rejection in report["rejections"]]
        size, read = size + report["bytes"], read + report["planned"]
        counters.update(report["counters"])
        words.update(report["words"])
        inputs.remarks.take(*report["remarks"])
    accepted = sum(records.values())
    reasons = collections.Counter(rejection.reason for rejection in dead)
    assert accepted + len(dead) == read, f"{accepted} accepted + {len(dead)} rejected clips, but {read} read"
    totals = {"read": read, "accepted": accepted, "rejected": len(dead), "reasons": dict(sorted(reasons.items()))}
    totals["remarks"] = dict(sorted(inputs.remarks.numbers.items()))
    return Done(records, sha256, size, totals | dict(sorted(counters.items())), words, sorted(dead))


def summary(done, inputs, cost, output, dead_letters):
    """The lines that end a run: nothing that was dropped, mended or ignored stays unsaid."""
    counters, seconds = done.counters, cost.seconds
    accepted, hours = counters["accepted"], counters.get("milliseconds", 0) / 3.6e6
    reasons = ", ".join(f"{number} {reason}" for reason, number in counters["reasons"].items())
    has = ("with_video", "with_sound", "silent", "sound_failed", "with_captions", "with_labels")
    lines = [
        f"{output}: {accepted} clips ({hours:.2f} h, {done.bytes / 1e6:.1f} MB) in {len(done.records)} shards",
        f"  read {counters['read']} = accepted {accepted} + rejected {counters['rejected']} ({reasons or 'none'})",
        "  " + ", ".join(f"{counters.get(name, 0)} {name.replace('_', ' ')}" for name in has),
        f"  {seconds:.1f} s, {accepted / seconds:.1f} clips/s, {hours * 3600 / seconds:.1f} times real time",
    ]
    if cost.cpu_seconds is not None and hours:
        lines[-1] += f", {cost.cpu_seconds / hours:.0f} CPU-seconds per hour of clips"
    if inputs.rows:
        joined = inputs.remarks.numbers[Remark.ROW_JOINED.value]
        clips = inputs.rows - joined - len(inputs.rejections)
        lines.append(f"  {inputs.rows} rows = {clips} clips + {joined} joined + {len(inputs.rejections)} rejected")
    lines += [f"  {line}" for line in inputs.remarks.summary()]
    if counters["rejected"] or inputs.remarks.lines:
        lines.append(f"  why: {dead_letters}")
    return "\n".join(lines)
