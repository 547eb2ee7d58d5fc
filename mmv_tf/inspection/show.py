"""Writes one page about a folder of records: statistics of the whole set, and clips."""

import heapq
import html
import os
from collections.abc import Sequence

from mmv_tf.inspection import clip, statistics
from mmv_tf.inspection import folder as folders
from mmv_tf.inspection.statistics import LOUDNESS_STEP, Statistics
from mmv_tf.inspection.verify import run
from mmv_tf.pages import charts, document
from mmv_tf.records import reader, tfrecord, vocabulary

_MOST_BARS = 20
_STYLE = """<style>
h3 { margin: 0 0 .1em; font-size: 1.02rem; overflow-wrap: anywhere }
.clip { margin: 16px 0 } .facts { font-size: .85rem; max-width: none; overflow-wrap: anywhere }
.frames { display: flex; flex-wrap: wrap; gap: 4px; margin: 8px 0 }
.frames figure { margin: 0 } .frames img { display: block; border-radius: 4px; height: 84px }
figcaption { font-size: .72rem; color: var(--soft); text-align: center }
.beside { display: grid; gap: 10px 28px; margin: 8px 0; grid-template-columns: minmax(0, 1fr) }
@media (min-width: 980px) { .beside { grid-template-columns: minmax(0, 6fr) minmax(0, 5fr) } }
.wave { display: block; width: 100%; height: 56px }
.mel { display: block; width: 100%; height: 110px; border-radius: 4px }
.axis { display: flex; justify-content: space-between; font-size: .72rem; color: var(--soft) }
audio { height: 32px; width: 100%; max-width: 420px }
.narrations td { text-align: left; white-space: normal; overflow-wrap: anywhere }
.narrations td:first-child { white-space: nowrap; font-size: .85rem; padding-right: 12px; color: var(--soft) }
.missing { color: var(--soft); font-style: italic; margin: .3em 0 } .wrong { color: #c0392b }
.tag { border: 1px solid var(--line); border-radius: 9px; padding: 1px 8px; margin-right: 6px; font-size: .85rem }
.card h2 { margin-top: 0; font-size: 1rem }
</style>"""


def show(
    path: str,
    output: str,
    split: str | None = None,
    keys: Sequence[str] = (),
    number: int = 24,
    max_shards: int | None = None,
    words_file: str | None = None,
    processes: int = 1,
) -> None:
    """Writes the page.

    Args:
      path: folder of records.
      output: HTML file, written whole; it needs nothing else.
      split: look at this split only.
      keys: of the clips to show; else a sample of `number` that is the same every time.
      max_shards: read only so many shards, spread over the set.
      words_file: a vocabulary, for the share of words that are not in it.
    Raises:
      ValueError: no such folder, split or key, or a bad vocabulary; one line.
    """
    folder = folders.read(path)
    known = frozenset(word.lower() for word in vocabulary.read(words_file)) if words_file else None
    shards = list(folder.shards(split))
    if max_shards and max_shards < len(shards):
        shards = [shards[i * len(shards) // max_shards] for i in range(max_shards)]
    wanted = frozenset(key.encode() for key in keys)
    tasks = [statistics.Task(folder.join(name), name, wanted, 0 if keys else number) for name in shards]
    total, places = Statistics(), []
    for one, found in run(statistics.of_shard, tasks, processes, "show"):
        total.add(one)
        places += found
    if missing := sorted(wanted - {place.key for place in places}):
        raise ValueError(f"{path}: no clip with the key {folders.shown(missing[0])!r} in {len(shards)} shards")
    places = sorted(places) if keys else heapq.nsmallest(number, places)
    looked_at = f"{len(shards)} shards" + (f" of {len(folder.shards(split))}" if max_shards else "")
    body = [_STYLE, _lead(folder, total, split, looked_at), _statistics(folder, total, split, known)]
    body.append(f"<h2>{len(places)} clips</h2>")
    for place in places:
        file, size = folders.open_file(folder.join(place.shard))
        with file:
            record = reader.parse(tfrecord.read_one(file, size, place.number))
        body.append(clip.card(record, f"{place.shard}, record {place.number}"))
    temporary = f"{output}.tmp"
    with open(temporary, "w", encoding="utf-8", errors="replace") as file:
        file.write(document.document(f"Records: {os.path.basename(os.path.abspath(path))}", "".join(body)))
    os.replace(temporary, output)


def _lead(folder, total, split, looked_at):
    has = total.has
    amount = f"{has['clips']:,} clips, {has['milliseconds'] / 3.6e6:,.2f} hours, {has['bytes'] / 1e6:,.1f} MB"
    of_split = f" of the split {html.escape(split)}" if split else ""
    lines = [f"<p>{amount} in {looked_at}{of_split}; {has['frames']:,} frames.</p>"]
    rows = [["", "clips", "share"]]
    names = {
        "with_video": "with frames",
        "with_sound": "with sound",
        "silent": "with a sound track of silence",
        "with_narration": "with narration",
        "with_labels": "with labels",
    }
    rows += [[text, f"{has[name]:,}", f"{has[name] / max(has['clips'], 1):.1%}"] for name, text in names.items()]
    lines.append(document.table(rows))
    if folder.card is None:
        lines.append('<p class="wrong">There is no dataset.json: nobody knows how many records there should be.</p>')
    if has["damaged"]:
        items = "".join(f"<li>{html.escape(text)}</li>" for text in total.damaged[:20])
        lines.append(
            f'<p class="wrong">{has["damaged"]} records cannot be read; <code>python -m mmv_tf.inspect verify</code> '
            f"names all:</p><ul>{items}</ul>"
        )
    return "".join(lines)


def _statistics(folder, total, split, known):
    cards = [_card("Duration", charts.columns(_durations(total.seconds), "durations", "seconds"))]
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
    cards.append(_rejected(folder, split))
    return f'<h2>The whole set</h2><div class="cards">{"".join(cards)}</div>'


def _card(title, chart, note=""):
    note = f'<p class="soft">{html.escape(note)}</p>' if note else ""
    return f'<div class="card"><h2>{html.escape(title)}</h2>{chart}{note}</div>'


def _rest(counter):
    more = len(counter) - _MOST_BARS
    return f"{len(counter):,} different ones; the {_MOST_BARS} most frequent are shown." if more > 0 else ""


def _durations(seconds):
    """At most about 30 columns of equal width."""
    low, high = min(seconds, default=0), max(seconds, default=0)
    step = max(1, -(-(high - low + 1) // 30))
    return [
        (f"{begin}", sum(seconds[second] for second in range(begin, begin + step)))
        for begin in range(low, high + 1, step)
    ]


def _words(total, known):
    candidates = [(f"{number}", total.narrations[number]) for number in range(max(total.narrations) + 1)]
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


def _rejected(folder, split):
    if folder.card is None:
        return ""
    splits = [split] if split else sorted(folder.card.splits)
    counters = [folder.card.splits[name].counters for name in splits]
    read, rejected = (sum(one.get(name, 0) for one in counters) for name in ("read", "rejected"))
    reasons: dict[str, int] = {}
    for one in counters:
        for reason, count in one.get("reasons", {}).items():
            reasons[str(reason)] = reasons.get(str(reason), 0) + count
    chart = charts.rows(sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0])), "rejected by reason")
    note = f"{rejected:,} of {read:,} clips read were rejected; each is in {folders.DEAD_LETTERS}."
    return _card("Rejected by reason", chart if reasons else "", note)
