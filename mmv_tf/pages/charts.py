"""Charts as inline SVG in the colours of the page, as wide as where they stand.

Each is `Markup` put together from escaped parts; the names on them may be any text.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup

_COLOURS = ("#4a7fd0", "#d07a3a", "#3f9e6e", "#a05fc0", "#b0873a", "#c0506a")
_ACCENT = "var(--accent)"
# All sizes are in units of the drawing, which is _WIDTH wide however wide it is shown; letters are 12 high (style.css:
# 15 on a phone, where all is smaller). _TOP is room for a value above a column, _BELOW for an axis' names and its unit.
_WIDTH, _TOP, _BELOW, _EDGE = 560, 18, 36, 5


def colour(number: int) -> str:
    """Of the curve of this number, counted from 0."""
    return _COLOURS[number % len(_COLOURS)]


def lines(series: dict[str, list[tuple[float, float]]], x_name: str = "step") -> Markup:
    """Curves name -> [(x, y)], in the colours that `colour` gives.

    Raises:
      ValueError: there is no point, or one that is not finite.
    """
    points = [point for curve in series.values() for point in curve]
    if not points or not all(math.isfinite(number) for point in points for number in point):
        raise ValueError(f"curves {', '.join(series)}: no points, or NaN or Inf among them")
    x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
    y0, y1 = min(0.0, min(y for _, y in points)), max(y for _, y in points)
    x1, y1 = x1 if x1 > x0 else x0 + 1, y1 if y1 > y0 else y0 + 1
    height, left, right, top = 270, 46, 18, 8

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (x - x0) / (x1 - x0) * (_WIDTH - left - right)
        return across, top + (1 - (y - y0) / (y1 - y0)) * (height - _BELOW - top)

    parts = []
    for y in _ticks(y0, y1):
        _, down = place(x0, y)
        parts += [_rule(down, left, _WIDTH - right), _text(left - 6, down + 4, f"{y:g}", "end")]
    for x in _ticks(x0, x1):
        parts.append(_text(place(x, y0)[0], height - _BELOW + 15, f"{x:g}", "middle"))
    parts.append(_unit(height, x_name, right))
    for number, curve in enumerate(series.values()):
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in (place(*point) for point in curve))
        parts.append(
            Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>').format(path, colour(number))
        )
    return _svg(height, ", ".join(series), parts)


def columns(values: Sequence[tuple[str, float]], name: str, unit: str) -> Markup:
    """A histogram: one column a value, in the order given, its name below. `name` says what is shown, for readers."""
    height = 192
    highest = max((value for _, value in values), default=0) or 1
    step = (_WIDTH - 2 * _EDGE) / max(len(values), 1)
    wide, every = max(1.0, min(step - 2, 60)), max(1, -(-len(values) // 14))
    parts = []
    for number, (label, value) in enumerate(values):
        middle, tall = _EDGE + (number + 0.5) * step, value / highest * (height - _BELOW - _TOP)
        top = height - _BELOW - tall
        parts.append(_bar(middle - wide / 2, top, wide, tall, f"{label}: {value:,}"))
        if value == highest:
            parts.append(_text(middle, top - 4, f"{value:,}", "middle"))
        if number % every == 0:
            parts.append(_text(middle, height - _BELOW + 15, label, "middle"))
    parts += [_rule(height - _BELOW, _EDGE, _WIDTH - _EDGE), _unit(height, unit, _EDGE)]
    return _svg(height, name, parts)


def rows(values: Sequence[tuple[str, float]], name: str) -> Markup:
    """One bar below another, longest names cut."""
    high, left, right = 20, 190, 70
    highest = max((value for _, value in values), default=0) or 1
    parts = []
    for number, (label, value) in enumerate(values):
        top, wide = number * high, value / highest * (_WIDTH - left - right)
        short = label if len(label) <= 28 else label[:27] + "\u2026"
        parts += [
            _text(left - 8, top + 14, short, "end", title=label),
            _bar(left, top + 4, max(wide, 1), 12, f"{label}: {value:,}"),
            _text(left + wide + 6, top + 14, f"{value:,}"),
        ]
    return _svg(max(high * len(values), 1), name, parts, "chart named")


def waveform(samples: np.ndarray, most_columns: int = 320) -> Markup:
    """Samples [S] in [-1, 1], S > 0, each column from the least to the greatest of its samples; of the class `wave`."""
    edges = np.linspace(0, len(samples), min(most_columns, len(samples)) + 1).astype(int)[:-1]
    highs, lows = (np.clip(way.reduceat(samples, edges), -1, 1) for way in (np.maximum, np.minimum))
    across = np.linspace(0, 600, len(edges))
    there = [f"{x:.0f},{30 - 28 * y:.1f}" for x, y in zip(across, highs, strict=True)]
    back = [f"{x:.0f},{30.5 - 28 * y:.1f}" for x, y in zip(across[::-1], lows[::-1], strict=True)]
    return Markup(
        '<svg class="wave" viewBox="0 0 600 60" preserveAspectRatio="none" role="img" aria-label="waveform">'
        '<polygon points="{}"/></svg>'
    ).format(" ".join(there + back))


def _ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` round numbers within [low, high]."""
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (factor * step) - wanted))
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, int(high / step + 1e-9) + 1)]


def _svg(height: float, label: str, parts: Iterable[Markup], css: str = "chart") -> Markup:
    """The whole drawing; `label` is read out in its place."""
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        css, _WIDTH, height, label, Markup().join(parts)
    )


def _text(x: float, y: float, text: str, anchor: str = "start", title: str = "") -> Markup:
    """A text, with its whole length for the pointer where it was cut."""
    whole = Markup("<title>{}</title>").format(title) if title else ""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}{}</text>').format(x, y, anchor, text, whole)


def _unit(height: float, text: str, right: float) -> Markup:
    """What an axis counts, in the lower right corner."""
    return Markup('<text x="{}" y="{}" text-anchor="end" opacity=".6">{}</text>').format(
        _WIDTH - right, height - 3, text
    )


def _bar(x: float, y: float, width: float, height: float, title: str) -> Markup:
    return Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.4g}" fill="{}"><title>{}</title></rect>'
    ).format(x, y, width, height, _ACCENT, title)


def _rule(y: float, left: float, right: float) -> Markup:
    """A line from left to right."""
    return Markup('<path d="M{},{:.1f}H{}" stroke="currentColor" opacity=".2"/>').format(left, y, right)
