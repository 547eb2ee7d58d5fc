"""Bar charts as inline SVG, in the colours of the page."""

import html
from collections.abc import Sequence

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
