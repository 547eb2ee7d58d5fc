"""The report of a deflation as text and as one HTML page."""

from mmv_tf.pages import document


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
    curves = {
        "held-out images": [(c["step"], c["held_out_l1"]) for c in history],
        "images learned from": [(c["step"], c["train_l1"]) for c in history if c["train_l1"] is not None],
    }
    return document.render(
        "deflation.html",
        title="Deflation",
        about=_training(report),
        history={name: points for name, points in curves.items() if points},
        tables=tables(report),
    )
