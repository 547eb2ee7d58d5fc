"""The demo's page: one HTML file that needs nothing else, for a phone and a wide screen, light or dark."""

import dataclasses
import html
import pathlib

from mmv_tf.pages import charts, pictures

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


_TAG = '<span class="tag">never trained together</span>'
_HERE = pathlib.Path(__file__).parent


def arrow(pair: str) -> str:
    """'video->audio' as it is shown: 'video → audio'."""
    return html.escape(pair.replace("->", " \u2192 "))


class _Sounds:
    """The sounds of the page, each stored once, however many buttons play it."""

    def __init__(self):
        self._ids: dict[str, str] = {}
        self._tags: list[str] = []

    def button(self, item: Item) -> str:
        if not item.sound:
            return ""
        key = item.key or str(hash(item.sound))
        if key not in self._ids:
            self._ids[key] = f"s{len(self._ids)}"
            uri = pictures.data_uri("audio/wav", item.sound)
            self._tags.append(f'<audio id="{self._ids[key]}" preload="none" src="{uri}"></audio>')
        return f'<button data-sound="{self._ids[key]}" aria-label="play the sound" title="play">&#9654;</button>'

    def tags(self) -> str:
        return "".join(self._tags)


def _figure(item: Item, sounds: _Sounds, mark: str = "", place: int = 0, near_means: str = "") -> str:
    shown = f"<blockquote>{html.escape(item.text)}</blockquote>" if item.text else ""
    if item.picture:
        what = {"video": "frames of", "audio": "spectrogram of"}.get(item.kind, "")
        alt = html.escape(f"{what} {item.name}".strip(), quote=True)
        shown = f'<img alt="{alt}" src="{pictures.data_uri("image/jpeg", item.picture)}">{shown}'
    word = {RIGHT: "\u2713 ", NEAR: f"\u223c {near_means}: ", WRONG: "\u2717 "}.get(mark, "")
    before = f'{place}. <span class="mark">{html.escape(word)}</span>' if place else ""
    caption = f"<figcaption>{before}{html.escape(item.name)}</figcaption>" if before or item.name else ""
    return f'<figure class="{mark}">{shown}{sounds.button(item)}{caption}</figure>'


def _example(example: Example, sounds: _Sounds, near_means: str) -> str:
    rank = f'<p class="soft" style="font-size:.8rem">right one at place {example.rank:g}</p>' if example.rank else ""
    found = "".join(
        _figure(item, sounds, mark, place, near_means) for place, (item, mark) in enumerate(example.found, 1)
    )
    return (
        f'<div class="card example"><div><div class="label">query</div>{_figure(example.query, sounds)}{rank}</div>'
        f'<div><div class="label">found, best first</div><div class="found">{found}</div></div></div>'
    )


def _number(column: str, value: float) -> str:
    if column == "MedR":
        return f"{value:g}"
    return f"{100 * value:.1f} %"


def _table(page: Page) -> str:
    """One body a pair: trained above untrained above chance, with a bar for R@5."""
    bodies = []
    for pair, rows in page.metrics.items():
        tag = _TAG if pair in page.never_trained else ""
        lines = f'<tr class="pair"><td colspan="{1 + len(COLUMNS)}">{arrow(pair)}{tag}</td></tr>'
        for row in (row for row in ROWS if row in rows):
            cells = ""
            for column in COLUMNS:
                value = rows[row][column]
                bar = f'<span class="bar" style="width:{max(0.1, 4 * value):.2f}em"></span>' if column == "R@5" else ""
                cells += f"<td>{bar}{_number(column, value)}</td>"
            lines += f'<tr class="{row}"><td>{row}</td>{cells}</tr>'
        bodies.append(f"<tbody>{lines}</tbody>")
    head = "".join(f"<th>{html.escape(column)}</th>" for column in COLUMNS)
    return f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead>{"".join(bodies)}</table></div>'


def _section(section: Section, page: Page, sounds: _Sounds) -> str:
    name = section.pair.replace("->", "-")
    tag = _TAG if section.pair in page.never_trained else ""
    right = page.right_means.get(section.pair, "")
    means = f'<p class="soft">Right means: {html.escape(right)}.</p>' if right else ""
    body = "".join(_example(example, sounds, page.near_means) for example in section.examples)
    return f'<h2 id="{name}">{arrow(section.pair)}{tag}</h2><p>{html.escape(section.explanation)}</p>{means}{body}'


def render(page: Page) -> str:
    """The page as HTML text. Every text is escaped; `graph_svg` is shown as an image, so no script in it would run."""
    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    sounds = _Sounds()
    links = "".join(f'<a href="#{s.pair.replace("->", "-")}">{arrow(s.pair)}</a> ' for s in page.sections)
    paragraphs = "".join(f"<p>{html.escape(text)}</p>" for text in page.paragraphs)
    cards = []
    for name, curves in page.curves.items():
        label = f'<div class="label">{html.escape(name)}</div>'
        cards.append(f'<div class="card">{label}{charts.lines(curves)}</div>')
    if page.graph_svg:
        uri = pictures.data_uri("image/svg+xml", page.graph_svg.encode())
        cards.append(
            f'<div class="card"><div class="label">modality graph</div>'
            f'<img class="drawing" style="width:100%" alt="modalities, heads and spaces" src="{uri}"></div>'
        )
    if page.facts:
        rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in page.facts)
        cards.append(f'<div class="card"><div class="label">this run</div><dl>{rows}</dl></div>')
    sections = "".join(_section(section, page, sounds) for section in page.sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(page.title)}</title><style>{style}</style></head><body><main>"
        f'<h1>{html.escape(page.title)}</h1><p class="lead">{html.escape(page.lead)}</p><nav>{links}</nav>'
        f'<div class="top">{_table(page)}<div>{paragraphs}</div></div>'
        f'<div class="two" style="margin-top:22px">{"".join(cards)}</div>{sections}'
        f"</main>{sounds.tags()}<script>{script}</script></body></html>\n"
    )
