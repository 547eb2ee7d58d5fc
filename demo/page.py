"""The demo's page: one HTML file that needs nothing else, for a phone and a wide screen, light or dark."""

import dataclasses
import pathlib

from mmv_tf.pages import document

RIGHT, NEAR, WRONG, UNKNOWN = "right", "near", "wrong", "unknown"
COLUMNS = ("R@1", "R@5", "R@10", "MedR")
ROWS = ("trained", "untrained", "chance")


@dataclasses.dataclass(frozen=True)
class Item:
    """A query or something found: a text, or a clip by its frames (`picture` JPEG) or its sound (spectrogram, `sound`
    WAV). `name` says what it is, below the picture; items of the same `key` share one sound on the page."""

    kind: str  # 'video', 'audio' or 'text'
    name: str = ""
    text: str = ""
    picture: bytes = b""
    sound: bytes = b""
    key: str = ""


@dataclasses.dataclass(frozen=True)
class Example:
    """A query with what was found, best first: (item, RIGHT | NEAR | WRONG | UNKNOWN)."""

    query: Item
    found: list[tuple[Item, str]]
    rank: float = 0.0  # of the best right target; 0 = not known


@dataclasses.dataclass(frozen=True)
class Section:
    """One direction of retrieval, with examples."""

    pair: str  # 'video->audio'
    explanation: str
    examples: list[Example]


@dataclasses.dataclass(frozen=True)
class Page:
    """Everything on the page. `metrics` is {pair: {row: {column: number}}} as in results.json."""

    title: str
    lead: str
    metrics: dict[str, dict[str, dict[str, float]]]
    paragraphs: list[str] = dataclasses.field(default_factory=list)
    facts: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    sections: list[Section] = dataclasses.field(default_factory=list)
    curves: dict[str, dict[str, list]] = dataclasses.field(default_factory=dict)  # chart -> {name: [(step, value)]}
    graph_svg: str = ""  # of `python -m mmv_tf.graph`
    never_trained: tuple[str, ...] = ()
    near_means: str = "same game"
    right_means: dict[str, str] = dataclasses.field(default_factory=dict)  # pair -> what counts as right


_ALT = {"video": "frames of", "audio": "spectrogram of"}


def arrow(pair: str) -> str:
    """'video->audio' as it is shown: 'video \u2192 audio'."""
    return pair.replace("->", " \u2192 ")


def render(page: Page) -> str:
    """The page as HTML text. `graph_svg` is shown as an image, so that no script in it would run."""
    sounds = _sounds(page)
    ids = {key: f"s{number}" for number, key in enumerate(sounds)}
    return document.render(
        "page.html",
        folder=pathlib.Path(__file__).parent / "templates",
        title=page.title,
        page=page,
        arrow=arrow,
        figures={pair: _figures(rows) for pair, rows in page.metrics.items()},
        columns=COLUMNS,
        sections=[(section, [_shown(example, ids) for example in section.examples]) for section in page.sections],
        words={RIGHT: "\u2713 ", NEAR: f"\u223c {page.near_means}: ", WRONG: "\u2717 ", UNKNOWN: ""},
        sounds={ids[key]: sound for key, sound in sounds.items()},
    )


def _sounds(page: Page) -> dict[str, bytes]:
    """The sounds of the page by their keys, each once, however many buttons play it."""
    examples = [example for section in page.sections for example in section.examples]
    items = [item for example in examples for item in (example.query, *(found for found, _ in example.found))]
    return {_key(item): item.sound for item in items if item.sound}


def _key(item: Item) -> str:
    return item.key or str(hash(item.sound))


def _shown(example: Example, ids: dict[str, str]) -> dict:
    """An example as the macro `example` takes it."""

    def shown(item):
        alt = f"{_ALT.get(item.kind, '')} {item.name}".strip()
        sound = ids[_key(item)] if item.sound else ""
        return {"picture": item.picture, "alt": alt, "text": item.text, "name": item.name, "sound_id": sound}

    note = f"right one at place {example.rank:g}" if example.rank else ""
    return {"query": shown(example.query), "found": [(shown(item), mark) for item, mark in example.found], "note": note}


def _figures(rows: dict[str, dict[str, float]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Trained above untrained above chance: (row, a cell a column, with the length of its bar or '')."""
    return [(row, [_figure(column, rows[row][column]) for column in COLUMNS]) for row in ROWS if row in rows]


def _figure(column: str, value: float) -> tuple[str, str]:
    text = f"{value:g}" if column == "MedR" else f"{100 * value:.1f} %"
    return text, f"{max(0.1, 4 * value):.2f}em" if column == "R@5" else ""
