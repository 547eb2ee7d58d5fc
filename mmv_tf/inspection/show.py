"""The page about a folder of records: statistics of the whole set, and clips."""

import collections
import heapq
import os
import pathlib
from collections.abc import Sequence

from mmv_tf.beam.sources import paths
from mmv_tf.common import files
from mmv_tf.inspection import clip, statistics
from mmv_tf.inspection import folder as folders
from mmv_tf.inspection.statistics import LOUDNESS_STEP, Statistics
from mmv_tf.inspection.verify import run
from mmv_tf.pages import charts, document
from mmv_tf.records import card, reader, tfrecord, vocabulary

_MOST_BARS = 20
_MOST_REMARKS = 50  # of a kind


def show(
    path: str,
    output: str,
    split: str | None = None,
    keys: Sequence[str] = (),
    number: int = 24,
    max_shards: int | None = None,
    words_file: str | None = None,
    processes: int = 1,
    contains: str = "",
    videos: str | None = None,
) -> None:
    """Writes the page.

    Args:
      path: folder of records.
      output: HTML file, written whole; it needs nothing else.
      split: look at this split only.
      keys: of the clips to show; else a sample of `number` that is the same every time.
      max_shards: read only so many shards, spread over the set.
      words_file: a vocabulary, for the share of words that are not in it.
      contains: the sample is of clips that have this in key, file, a narration or a label; of any case.
      videos: folder of the videos that the records were made of, to which clips are linked where they are there.
    Raises:
      ValueError: no such folder, split or key, no clip that contains it, or a bad vocabulary; one line.
    """
    folder = folders.read(path)
    known = frozenset(word.lower() for word in vocabulary.read(words_file)) if words_file else None
    shards = list(folder.shards(split))
    if max_shards and max_shards < len(shards):
        shards = [shards[i * len(shards) // max_shards] for i in range(max_shards)]
    wanted = frozenset(key.encode() for key in keys)
    tasks = [
        statistics.Task(folder.join(name), name, wanted, 0 if keys else number, contains.lower()) for name in shards
    ]
    total, places = Statistics(), []
    for one, found in run(statistics.of_shard, tasks, processes, "show"):
        total.add(one)
        places += found
    if missing := sorted(wanted - {place.key for place in places}):
        raise ValueError(f"{path}: no clip with the key {folders.shown(missing[0])!r} in {len(shards)} shards")
    if contains and not total.has["found"]:
        raise ValueError(f"{path}: no clip of {total.has['clips']} has {contains!r} in key, file, narration or label")
    places = sorted(places) if keys else heapq.nsmallest(number, places)
    looked_at = f"{len(shards)} shards" + (f" of {len(folder.shards(split))}" if max_shards else "")
    page = document.render(
        "records.html",
        title=f"Records: {os.path.basename(os.path.abspath(path))}",
        amount=_amount(total.has, looked_at, split),
        shares=_shares(total.has),
        has_card=folder.card is not None,
        num_damaged=total.has["damaged"],
        damaged=total.damaged[:20],
        cards=_cards(folder, total, split, known),
        remarks=list(_remarks(folder, split)),
        dead_letters=card.DEAD_LETTERS,
        shown=_shown(len(places), total.has, keys, contains),
        clips=(_clip(folder, place, videos) for place in places),
    )
    files.write_text(output, page)


def _shown(number, has, keys, contains) -> str:
    """The heading of the clips, and how others are seen."""
    whole = has["found"]
    of_whole = f"{number:,} of {whole:,} clips" if number < whole else f"{number:,} clips"
    having = f" with {contains!r}" if contains else ""
    more = "" if keys or number == whole else "; --number shows more, --contains and --key choose"
    return of_whole + having + more


def _film(record, videos: str | None) -> str:
    """Address of the film at the clip's time; '' where it is not below the folder. The path is not ours: no way out."""
    if not videos or not record.path:
        return ""
    found, why = paths.confine(videos, os.fsdecode(record.path))
    if why:
        return ""
    times = (record.start, record.end)
    return pathlib.Path(found).as_uri() + ("" if None in times else f"#t={times[0] / 1e6:g},{times[1] / 1e6:g}")


def _clip(folder, place, videos):
    file, size = folders.open_file(folder.join(place.shard))
    with file:
        record = reader.parse(tfrecord.read_one(file, size, place.number))
    return clip.about(record, f"{place.shard}, record {place.number}") | {"film": _film(record, videos)}


def _amount(has, looked_at, split) -> str:
    amount = f"{has['clips']:,} clips, {has['milliseconds'] / 3.6e6:,.2f} hours, {has['bytes'] / 1e6:,.1f} MB"
    return f"{amount} in {looked_at}{f' of the split {split}' if split else ''}; {has['frames']:,} frames."


def _shares(has) -> list[list[str]]:
    names = {
        "with_video": "with frames",
        "with_sound": "with sound",
        "silent": "with a sound track of silence",
        "with_narration": "with narration",
        "with_labels": "with labels",
    }
    rows = [[text, f"{has[name]:,}", f"{has[name] / max(has['clips'], 1):.1%}"] for name, text in names.items()]
    return [["", "clips", "share"], *rows]


def _cards(folder, total, split, known) -> list[dict]:
    cards = [_card("Duration", charts.columns(_in_columns(total.seconds), "durations", "seconds"))]
    if total.sizes:
        sizes = [(f"{w} x {h}", n) for (w, h), n in total.sizes.most_common(_MOST_BARS)]
        cards.append(_card("Resolution", charts.rows(sizes, "resolutions"), _rest(total.sizes)))
    if total.loudness:
        low, high = min(total.loudness), max(total.loudness)
        levels = [(f"{level}", total.loudness[level]) for level in range(low, high + 1, LOUDNESS_STEP)]
        note = f"Root mean square of a clip, {LOUDNESS_STEP} dB a column; without {total.has['silent']:,} silent ones."
        cards.append(_card("Loudness", charts.columns(levels, "loudness", "dB of full scale, from"), note))
    if total.words:
        cards += _words(total, known)
    if total.labels:
        labels = [(f"{i} {name}", n) for (i, name), n in total.labels.most_common(_MOST_BARS)]
        cards.append(_card("Labels", charts.rows(labels, "labels"), _rest(total.labels)))
    if folder.card is not None:
        cards.append(_rejected(folder, split))
    return cards


def _card(title, chart, note="") -> dict:
    return {"title": title, "chart": chart, "note": note}


def _rest(counter):
    more = len(counter) - _MOST_BARS
    return f"{len(counter):,} different ones; the {_MOST_BARS} most frequent are shown." if more > 0 else ""


def _in_columns(counter, low=None):
    """Of {whole number: how often} at most about 30 columns of equal width, however far apart the numbers are."""
    low, high = min(counter, default=0) if low is None else low, max(counter, default=0)
    step = max(1, -(-(high - low + 1) // 30))
    sums = collections.Counter()
    for number, count in counter.items():
        sums[(number - low) // step] += count
    return [(f"{low + step * column}", sums[column]) for column in range((high - low) // step + 1)]


def _words(total, known):
    candidates = _in_columns(total.narrations, 0)
    cards = [_card("Narrations of a clip", charts.columns(candidates, "narrations of a clip", "candidates"))]
    without = {word: number for word, number in total.words.items() if word not in vocabulary.STOP_WORDS}
    most = sorted(without.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST_BARS]
    note = (
        f"{sum(total.words.values()):,} words in the narrations of all clips, each as often as clips have it; "
        f"{len(without):,} different ones without stop words."
    )
    cards.append(_card("Words", charts.rows(most, "words"), note))
    if known is not None:
        outside, all_words, unknown = statistics.unknown_words(total.words, known)
        share = f"{outside:,} of {all_words:,} words ({outside / max(all_words, 1):.2%})"
        note = f"{share} are not in the vocabulary of {len(known):,}; stop words do not count."
        cards.append(_card("Words outside the vocabulary", charts.rows(unknown, "unknown words"), note))
    return cards


def _remarks(folder, split):
    """Yields (how many of a kind, lines with the names of the first) of what was mended or left out."""
    if folder.card is None or card.DEAD_LETTERS not in folder.names:
        return
    numbers = collections.Counter()
    for name, content in folder.card.splits.items():
        if split in (None, name):
            numbers.update(content.counters.get("remarks", {}))
    lines = {kind.value: [] for kind in card.Remark}
    file, _ = folders.open_file(folder.join(card.DEAD_LETTERS))
    with file:
        for line in file:
            entry = _letter(line)
            of_kind = lines.get(str(entry.get("reason")))  # which can be anything
            if of_kind is not None and split in (None, entry.get("split")) and len(of_kind) < _MOST_REMARKS:
                of_kind.append(folders.shown(f"{entry.get('path')}: {entry.get('detail')}"))
    for kind in card.Remark:
        if lines[kind.value]:
            yield f"{numbers[kind.value]:,} {kind.text}", lines[kind.value]


def _letter(line):
    """A line of dead_letters.jsonl; {} where it is none, as `verify` tells."""
    try:
        return card.dead_letter(line)
    except ValueError:
        return {}


def _rejected(folder, split):
    splits = [split] if split else sorted(folder.card.splits)
    counters = [folder.card.splits[name].counters for name in splits]
    read, rejected = (sum(one.get(name, 0) for one in counters) for name in ("read", "rejected"))
    reasons: dict[str, int] = {}
    for one in counters:
        for reason, count in one.get("reasons", {}).items():
            reasons[str(reason)] = reasons.get(str(reason), 0) + count
    chart = charts.rows(sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0])), "rejected by reason")
    note = f"{rejected:,} of {read:,} clips read were rejected; each is in {card.DEAD_LETTERS}."
    return _card("Rejected by reason", chart if reasons else "", note)
