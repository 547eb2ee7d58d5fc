"""Own videos without arithmetic: the rule by which gin/own.gin gets its numbers, from the records and the machine.

A gin file asks for it by `Own.records = %TRAIN_DATA`. Whatever is bound after that line, in a later file or on the
command line, stays as it is, and the other numbers are made to fit it. A run that goes on keeps those it began with.
"""

import ast
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmv_tf.common import config, files
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive
from mmv_tf.diagnosis.machine import Machine, look
from mmv_tf.training import strategies

# Of a clip in a run of gin/models/tiny.gin (64 x 64 pixels), with input, start, probes and checkpoints: measured on two
# cores without other work, 160 GFLOP/s in a product of matrices, 71 clips/s while steps run and 40 over a run of 120.
_GFLOP_A_CLIP = 3.5
_CLIPS_A_CORE = 60  # a second, that a core decodes and augments for a GPU
_LEAST_STEPS, _MOST_STEPS = 120, 20_000
_STEPS = 40  # the number of steps is a multiple of it: so many loops, and eight probes
_LOOKED_AT = 32  # records, for how many narrations a clip has


@configurable
class Own:
    """What the rule begins from.

    Args:
      records: pattern of the training records; '' chooses nothing. Test or validation records beside them are held out.
      minutes: that training may take, about. On a machine that is busy with other things it takes longer.
      passes: how often each clip is seen at most. On few clips more passes teach the clips, and not what they show.
    """

    def __init__(self, records: str | Sequence[str] = "", minutes: Positive = 10.0, passes: Positive = 100.0):
        self.records, self.minutes, self.passes = records, minutes, passes


class Records(NamedTuple):
    """What the records hold."""

    clips: int
    held_out: str = ""  # pattern, '' for none
    held_out_clips: int = 0
    side: int | None = None  # pixels, the shorter one; None: not known
    narrations: int | None = None  # of a clip that has some; None: not looked at
    words: int | None = None  # of the vocabulary


class Choice(NamedTuple):
    """A number, and why it is that."""

    name: str
    value: Any
    why: str


def choose(
    records: Records, machine: Machine, own: Own, given: Mapping[str, Any] | None = None, replicas: int = 1
) -> list[Choice]:
    """The rule.

    Args:
      given: {name: value} of what the user has bound: it is kept, and what depends on it is made to fit.
      replicas: among which the batch is divided.
    Raises:
      ValueError: there are too few clips to compare.
    """
    given, made = dict(given or {}), []

    def take(name, value, why):
        if name not in given:
            made.append(Choice(name, value, why))
        return given.get(name, value)

    if records.clips < 2:
        raise ValueError(f"{own.records}: {records.clips} clip; a network learns by telling clips apart: two or more")
    crop, whole, why = (112, 128, "for a GPU") if machine.gpus else (64, 72, "what a CPU has time for")
    if records.side is not None and records.side < whole:
        whole = records.side
        crop, why = max(1, whole * 8 // 9), f"the records are {records.side} pixels high or wide"
    crop = take("VideoInput.crop_size", crop, f"pixels; {why}")
    take("VideoInput.min_side", max(whole, crop), "pixels; what it is cut out of")
    most = 256 if machine.gpus else 64
    fits = int(max(2, machine.memory * 16 * (64 / crop) ** 2)) if not machine.gpus else most
    batch = 2
    while batch * 2 <= min(most, fits, records.clips):
        batch *= 2
    batch = take("train.batch_size", max(1, batch // replicas) * replicas, f"of {records.clips} clips, told apart")
    if machine.gpus:
        rate = machine.cores * _CLIPS_A_CORE
    else:
        rate = machine.gflops / (_GFLOP_A_CLIP * (crop / 64) ** 2)
    passes = own.passes * records.clips / batch
    in_time = own.minutes * 60 * rate / batch
    wanted = min(max(passes, _LEAST_STEPS), max(in_time, _LEAST_STEPS), _MOST_STEPS)
    steps = -(-int(wanted) // _STEPS) * _STEPS
    bound = f"Own.minutes = {own.minutes:g}" if in_time < passes else f"Own.passes = {own.passes:g}"
    if wanted in (_LEAST_STEPS, _MOST_STEPS):
        bound = "the least that teaches anything" if wanted == _LEAST_STEPS else "the most; gin/va.gin is for more"
        if in_time < _LEAST_STEPS:
            bound += f", and more than Own.minutes = {own.minutes:g} allows"
    times, minutes = steps * batch / records.clips, steps * batch / rate / 60
    steps = take("STEPS", steps, f"{bound}; each clip {times:.0f} times, about {max(1, minutes):.0f} min")
    take("warmup_cosine.warmup_steps", max(1, steps // 10), "a tenth of the steps")
    every = next(steps // number for number in range(min(8, steps), 0, -1) if steps % number == 0)
    loop = next(size for size in range(max(1, min(100, steps // 40)), 0, -1) if every % size == 0)
    loop = take("train.steps_per_loop", loop, "between two looks at the losses")
    every = every if every % loop == 0 else loop
    take("train.checkpoint_every", every, "steps")
    if records.held_out_clips > 1:
        take("Probe.retrieval_data", records.held_out, f"{records.held_out_clips} clips that it is not trained on")
        take("Probe.every", every, "steps between two looks at how it does on them")
    take("CollapseWatch.first_step", max(1, steps // 4), "when warnings begin")
    if records.narrations is not None:
        take("InputPipeline.max_candidates", min(5, max(1, records.narrations)), "narrations of most clips")
    if records.words is not None:
        take("TextNetwork.vocabulary_size", records.words + 1, "the words of the vocabulary, and none")
    return made


def bindings(gin_files: Sequence[str], gin_params: Sequence[str], workdir: str, strategy) -> list[str]:
    """Bindings to put before `gin_params`, said aloud; none where no file asks for them.

    Raises:
      ValueError: no records, records that lack what is trained on, or several machines; names the setting.
    """
    written = config.last_values(gin_files, gin_params)
    marker = written.get("Own.records")
    if marker is None and (alone := [name for name in ("Own.minutes", "Own.passes") if name in written]):
        raise ValueError(f"{alone[0]} is for the rule of gin/own.gin, which no gin file asks for (Own.records)")
    if marker is None or not marker.value:
        return []
    import tensorflow as tf

    if not strategies.on_one_machine(strategy):
        raise ValueError("Own.records: the rule is for one machine; several have gin/va.gin and gin/fac.gin")
    given = {name: one.value for name, one in written.items() if one.place > marker.place}
    if "train.steps" in given and "STEPS" not in given:
        given["STEPS"] = given["train.steps"]
    names = ("records", "minutes", "passes")
    own = Own(**{name: written[f"Own.{name}"].value for name in names if f"Own.{name}" in written})
    modalities = written["InputPipeline.modalities"].value if "InputPipeline.modalities" in written else ()
    vocabulary = written["Tokenizer.vocabulary"].value if "Tokenizer.vocabulary" in written else ""
    records = read(own.records, modalities, vocabulary if isinstance(vocabulary, str) else "")
    machine = look(len(tf.config.list_physical_devices("GPU")))
    chosen = choose(records, machine, own, given, strategy.num_replicas_in_sync)
    if "STEPS" in given and "train.steps" in given:
        chosen.append(Choice("STEPS", given["STEPS"], "as train.steps"))
    if kept := _earlier(workdir, [one.name for one in chosen]):
        # What it did not write down fits what it did.
        fit = {one.name: one for one in choose(records, machine, own, {**kept, **given}, strategy.num_replicas_in_sync)}
        chosen = [fit.get(one.name, one) for one in chosen]
    print(*said(records, machine, chosen, kept, workdir), sep="\n", flush=True)
    return [f"{one.name} = {kept.get(one.name, one.value)!r}" for one in chosen]


def said(records: Records, machine: Machine, chosen, kept=(), workdir: str = "") -> list[str]:
    """The numbers for a person, and why they are those."""
    held = f"{records.held_out_clips} held out" if records.held_out_clips else "none held out"
    lines = [f"numbers for {records.clips} clips ({held}) on {machine}:"]
    for name, value, why in chosen:
        if name in kept:
            now = "" if kept[name] == value else f"; today the rule would give {value!r}"
            why = f"as {workdir} began{now}"
        lines.append(f"  {f'{name} = {dict(kept).get(name, value)!r}':<42} {why}")
    if not records.held_out_clips:
        lines.append(
            "  no held-out clips, so nothing will be known of how well it does on others: put some films into another "
            "folder and preprocess it into the same records with --split test"
        )
    return [*lines, '  to have another number: --gin_param="NAME = VALUE"']


def read(pattern: str | Sequence[str], modalities: Sequence[str] = (), vocabulary: str = "") -> Records:
    """What the records of a pattern hold.

    Raises:
      ValueError: there are none, or they lack a modality altogether; says what to do.
    """
    from mmv_tf.inputs import shards
    from mmv_tf.records import vocabulary as vocabularies

    found = shards.find(pattern)
    beside = shards.held_out_beside([pattern])
    held_out = shards.find(beside).num_records if beside else 0
    side, counters = _of_cards(found.files)
    missing = {"video": "pictures", "audio": "sound", "text": "narrations"}
    for modality in modalities:
        if counters.get(_HAVE[modality]) == 0:
            without = "gin/own.gin trains without, and `mmv_tf transcribe` makes some"
            cure = without if modality == "text" else "it cannot be trained on (see dead_letters.jsonl beside them)"
            raise ValueError(f"{pattern}: none of its {found.num_records} clips has {missing[modality]}: {cure}")
    narrations = _narrations(found.files) if "text" in modalities else None
    words = len(vocabularies.read(vocabulary)) if vocabulary and "text" in modalities else None
    return Records(found.num_records, beside if held_out > 1 else "", held_out, side, narrations, words)


_HAVE = {"video": "with_video", "audio": "with_sound", "text": "with_captions"}  # counters of a split


def _of_cards(paths) -> tuple[int | None, dict[str, int]]:
    """(least short side, {counter of _HAVE: sum}) of the dataset.json of all folders, as far as they are known.

    A sum is known if every split that a file belongs to tells it.
    """
    from mmv_tf.records import card as cards

    by_folder, sides, splits = {}, [], []
    for path in paths:
        by_folder.setdefault(os.path.dirname(path), set()).add(os.path.basename(path))
    for folder, names in by_folder.items():
        if files.is_remote(folder) or not os.path.isfile(os.path.join(folder, cards.FILE_NAME)):
            splits.append({})
            continue
        card = cards.load(folder)
        sides.append(card.short_side)
        splits += [split.counters for split in card.splits.values() if names & set(split.shards)]
    known = [name for name in _HAVE.values() if all(name in counters for counters in splits)]
    return min(sides, default=None), {name: sum(counters[name] for counters in splits) for name in known}


def _narrations(paths) -> int | None:
    """How many narrations most clips have, of those that have some; None: not to be told here."""
    from mmv_tf.records import reader

    counts = []
    for path in paths:
        if files.is_remote(path):
            return None
        with open(path, "rb") as file:
            read_here = reader.read(file, os.path.getsize(path))
            for _, record, _, _ in itertools.islice(read_here, -(-_LOOKED_AT // len(paths))):
                if record is not None and record.captions:
                    counts.append(len(record.captions))
    return sorted(counts)[len(counts) // 2] if counts else None


def _earlier(workdir: str, names) -> dict[str, Any]:
    """What a run in `workdir` began with, of these names."""
    from mmv_tf.training import workdir as workdirs

    found = {name: workdirs.earlier_setting(workdir, name) for name in names}
    return {name: ast.literal_eval(text) for name, text in found.items() if text is not None}
