"""The report of a deflation as text and as one HTML page."""

import html

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 220, 60, 26
_STYLE = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:44em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em .2em 0;text-align:right}
td:first-child,th:first-child{text-align:left}tr{border-bottom:1px solid #8884}svg{width:100%}"""


def tables(report: dict) -> list[tuple[str, list[list[str]]]]:
    """(title, rows) of what a report holds; the first row is the head."""
    made = [("Distance to the video network on the image repeated (held-out images)", _distances(report))]
    cost, frames, size = report["cost"], report["frames"], report["image_size"]
    rows = [["", "image", f"clip of {frames}", "ratio"]]
    for what, unit, scale in (("multiply_adds", "million multiply-adds", 1e6), ("milliseconds", "milliseconds", 1)):
        image, video = (cost[f"{side}_{what}"] / scale for side in ("image", "video"))
        rows.append([unit, f"{image:,.4g}", f"{video:,.4g}", f"{cost[f'{what}_ratio']:.2f}"])
    made.append((f"Cost at {size} x {size} pixels", rows))
    for name, variants in report.get("retrieval", {}).items():
        columns = list(next(iter(variants.values())))
        rows = [["asked with", *columns]]
        for variant, values in variants.items():
            shown = [f"{v:g}" if column == "MedR" else f"{v:.1%}" for column, v in values.items()]
            rows.append([{"video": "the whole clip"}.get(variant, variant), *shown])
        made.append((f"Retrieval {name}, middle frames of {report['retrieval_records']}", rows))
    return made


def _distances(report):
    rows = [["", "naive: relative L2", "trained", "naive: 1 - cosine", "trained"]]
    for space, variants in report["distance_to_inflated"].items():
        cells = [variants[v][m] for m in ("relative_l2", "cosine_distance") for v in ("naive", "trained")]
        rows.append([{"repr": "representation"}.get(space, f"space {space}"), *(f"{cell:.4f}" for cell in cells)])
    return rows


def as_text(report: dict) -> str:
    """The report for a console."""
    lines = [_training(report)]
    for title, rows in tables(report):
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["", title]
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    return "\n".join(lines)


def _training(report):
    t, i = report["training"], report["images"]
    return (
        f"L1 on {i['held_out']} held-out images: {t['held_out_l1_naive']:.4g} naive, {t['held_out_l1_trained']:.4g} "
        f"trained (step {t['best_step']} of {t['steps']}, on {i['crops']} crops of {i['learned_from']} images: "
        f"{i['source']})"
    )


def render(report: dict, history: list[dict]) -> str:
    """The report as HTML with the learning curve; needs nothing else."""
    parts = []
    for title, rows in tables(report):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
        body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows[1:])
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>")
    return (
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Deflation</title><style>{_STYLE}</style><h1>Deflation</h1><p>{html.escape(_training(report))}</p>"
        f"{curve(history)}{''.join(parts)}"
    )


def curve(history: list[dict]) -> str:
    """L1 over steps as SVG: on held-out images (solid) and on those that are learned from (dashed)."""
    series = {
        "held out": [(c["step"], c["held_out_l1"]) for c in history],
        "learned from": [(c["step"], c["train_l1"]) for c in history if c["train_l1"] is not None],
    }
    right = max(1, max(c["step"] for c in history))
    top = max(y for points in series.values() for _, y in points) or 1.0

    def place(x, y):
        return f"{_LEFT + x / right * (_WIDTH - _LEFT - 10):.1f},{10 + (1 - y / top) * (_HEIGHT - _BOTTOM - 10):.1f}"

    lines = []
    for (name, points), dash in zip(series.items(), ("", "5 4"), strict=True):
        path = " ".join(place(*point) for point in points)
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="{dash}">'
            f"<title>{name}</title></polyline>"
        )
    ground = _HEIGHT - _BOTTOM
    return (
        f'<figure style="margin:0"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="learning curve" '
        f'fill="currentColor" font-size="12">{"".join(lines)}'
        f'<path d="M{_LEFT},10V{ground}H{_WIDTH - 10}" fill="none" stroke="currentColor" opacity=".4"/>'
        f'<text x="{_LEFT - 6}" y="18" text-anchor="end">{top:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{ground}" text-anchor="end">0</text>'
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 8}" text-anchor="end">step {right}</text></svg>'
        "<figcaption>L1 to the video network: held-out images (solid), images learned from (dashed)</figcaption>"
        "</figure>"
    )
