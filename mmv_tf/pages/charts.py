"""Line charts as inline SVG with a legend below, in the colours of the page."""

import html
import math
from collections.abc import Sequence

_COLOURS = ("#4a7fd0", "#d07a3a", "#3f9e6e", "#a05fc0", "#b0873a", "#c0506a")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM = 560, 260, 46, 18, 26


def _ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` round numbers within [low, high]."""
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (factor * step) - wanted))
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, int(high / step + 1e-9) + 1)]


def lines(series: dict[str, list[tuple[float, float]]], x_name: str = "step") -> str:
    """HTML of curves name -> [(x, y)]; points that are not finite are an error."""
    points = [point for curve in series.values() for point in curve]
    if not points or not all(math.isfinite(number) for point in points for number in point):
        raise ValueError(f"curves {', '.join(series)}: no points, or NaN or Inf among them")
    x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
    y0, y1 = min(0.0, min(y for _, y in points)), max(y for _, y in points)
    x1, y1 = x1 if x1 > x0 else x0 + 1, y1 if y1 > y0 else y0 + 1

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT)
        return across, 8 + (1 - (y - y0) / (y1 - y0)) * (_HEIGHT - _BOTTOM - 8)

    grid, legend, curves = [], [], []
    for y in _ticks(y0, y1):
        _, height = place(x0, y)
        grid.append(f'<path d="M{_LEFT},{height:.1f}H{_WIDTH - _RIGHT}" stroke="currentColor" opacity=".15"/>')
        grid.append(f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in _ticks(x0, x1):
        across, _ = place(x, y0)
        grid.append(f'<text x="{across:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{x:g}</text>')
    grid.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 30}" text-anchor="end" opacity=".6">{html.escape(x_name)}</text>'
    )
    for index, (name, curve) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        path = " ".join(f"{across:.1f},{height:.1f}" for across, height in (place(*point) for point in curve))
        curves.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        legend.append(f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(", ".join(series), quote=True)}" '
        f'style="width:100%;font:12px system-ui,sans-serif" fill="currentColor">{"".join(grid + curves)}</svg>'
        f'<div class="legend">{"".join(legend)}</div>'
    )


_COLOUR = "var(--accent)"
_SVG = 'style="width:100%;font:12px system-ui,sans-serif" fill="currentColor"'


def columns(values: Sequence[tuple[str, float]], name: str, unit: str) -> str:
    """A histogram: one column a value, in the order given, its name below. `name` says what is shown, for readers."""
    width, height, bottom, top = 560, 190, 34, 18
    highest = max((value for _, value in values), default=0) or 1
    step = (width - 10) / max(len(values), 1)
    every = max(1, -(-len(values) // 14))
    parts = []
    for i, (label, value) in enumerate(values):
        tall = value / highest * (height - bottom - top)
        x, y = 5 + i * step, height - bottom - tall
        title = f"<title>{html.escape(label)}: {value:,}</title>"
        wide = max(1.0, min(step - 2, 60))
        x += (step - wide) / 2
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{_COLOUR}">{title}</rect>'
        )
        middle = x + wide / 2
        if value == highest:
            parts.append(f'<text x="{middle:.1f}" y="{y - 4:.1f}" text-anchor="middle">{value:,}</text>')
        if i % every == 0:
            label = html.escape(label)
            parts.append(f'<text x="{middle:.1f}" y="{height - 18}" text-anchor="middle">{label}</text>')
    line = f'<path d="M5,{height - bottom}H{width - 5}" stroke="currentColor" opacity=".3"/>'
    axis = f'<text x="{width - 5}" y="{height - 3}" text-anchor="end" opacity=".6">{html.escape(unit)}</text>'
    label = html.escape(name, quote=True)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" {_SVG}>{"".join(parts)}{line}{axis}</svg>'
    )


def rows(values: Sequence[tuple[str, float]], name: str) -> str:
    """One bar below another, longest names cut."""
    width, high, left, right = 560, 20, 190, 70
    highest = max((value for _, value in values), default=0) or 1
    parts = []
    for i, (label, value) in enumerate(values):
        y, wide = i * high, value / highest * (width - left - right)
        short = label if len(label) <= 28 else label[:27] + "\u2026"
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{html.escape(short)}'
            f"<title>{html.escape(label)}</title></text>"
            f'<rect x="{left}" y="{y + 4}" width="{max(wide, 1):.1f}" height="12" fill="{_COLOUR}"/>'
            f'<text x="{left + wide + 6:.1f}" y="{y + 14}">{value:,}</text>'
        )
    label = html.escape(name, quote=True)
    height = max(high * len(values), 1)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" {_SVG}>{"".join(parts)}</svg>'
