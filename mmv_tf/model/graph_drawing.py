"""A modality graph as an SVG picture."""

from markupsafe import Markup

from mmv_tf.model.graph import Graph
from mmv_tf.pages import document

_STYLE = Markup("""<style>
text { font: 14px sans-serif; fill: #1c1c1c }
.small { font-size: 11px; fill: #5a5a5a; paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
.pair { fill: #a03c14 }
.view { fill: #f6f8fc; stroke: #4a6fa5; stroke-dasharray: 5 3 }
.modality { fill: #e8eef7; stroke: #4a6fa5 } .space { fill: #f7efe2; stroke: #b0813a }
.head { stroke: #5a5a5a; fill: none }
</style>""")
_TIP = Markup(
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 z" fill="#5a5a5a"/></marker></defs>'
)
_ARROW = Markup(
    '<path class="head" marker-end="url(#tip)" '
    'd="M{x0:.0f},{y0:.0f} C{middle:.0f},{y0:.0f} {middle:.0f},{y1:.0f} {x1:.0f},{y1:.0f}"/>'
)
_RECTANGLE = Markup('<rect class="{}" rx="8" x="{:.0f}" y="{:.0f}" width="{}" height="{}"/>')
_TEXT = Markup('<text text-anchor="middle" x="{:.0f}" y="{:.0f}">{}</text>')
_SMALL_TEXT = Markup('<text class="small{}" text-anchor="middle" x="{:.0f}" y="{:.0f}">{}</text>')
_WHOLE = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
    'height="{height:.0f}">{style}{tip}<rect width="100%" height="100%" fill="#ffffff"/>{shapes}</svg>\n'
)

_LINE = Markup('<text class="small pair" x="{:.0f}" y="{:.0f}">{}</text>')

_COLUMN, _ROW, _BOX = 280, 84, (118, 44)
_ABOVE, _LETTERS, _LETTER = 2, 34, 6.3  # pairs above a space, and how long they may be there; width of a letter


def _depths(graph: Graph) -> dict[str, int]:
    """Column of each modality and view (0) and space (length of the longest path to it)."""
    depths = dict.fromkeys(graph.inputs, 0)
    for modality in graph.inputs:
        for space in graph.spaces_of(modality):
            depths[space] = max(depths.get(space, 0), len(graph.path(modality, space)))
    return depths


def _centres(graph: Graph) -> dict[str, tuple[float, float]]:
    columns: dict[int, list[str]] = {}
    for name, depth in _depths(graph).items():
        columns.setdefault(depth, []).append(name)
    tallest = max(len(names) for names in columns.values())
    centres = {}
    for depth, names in columns.items():
        top = 50 + (tallest - len(names)) * _ROW / 2
        for row, name in enumerate(names):
            centres[name] = (90 + depth * _COLUMN, top + row * _ROW)
    return centres


def _describe(head) -> str:
    parts = [head.activation] if head.activation else []
    parts.append(f"mlp {'-'.join(map(str, head.hidden))}" if head.hidden else "linear")
    return " ".join(parts + (["+ bn"] if head.batch_norm else []))


def _pairs(graph: Graph, space: str) -> list[str]:
    """A line for each pair that is compared in a space."""
    lines = []
    for pair in (pair for pair in graph.pairs if pair.space == space):
        loss = getattr(pair.loss, "__name__", str(pair.loss))
        other = f"{pair.second} in {pair.second_space}" if pair.second_space else pair.second
        further = f" against {', '.join(pair.against)}{' (own too)' * pair.against_own}" if pair.against else ""
        scorer = f" of a {pair.scored_by}" if pair.scorer else ""
        lines.append(f"{pair.first} ~ {other}{further}: {loss}{scorer} x {pair.weight:g}")
    return lines


def svg(graph: Graph) -> Markup:
    """Modalities with their views on the left, heads as arrows, spaces with their dimensions and pairs.

    Pairs stand above their space, or below the drawing where they are many or long.
    """
    centres = _centres(graph)
    half_width, half_height = _BOX[0] / 2, _BOX[1] / 2
    shapes, below = [], []
    for head in graph.heads:
        (x0, y0), (x1, y1) = centres[head.source], centres[head.space]
        start, end = x0 + half_width, x1 - half_width
        middle = (start + end) / 2
        shapes.append(_ARROW.format(x0=start, y0=y0, middle=middle, x1=end - 6, y1=y1))
        shapes.append(_SMALL_TEXT.format("", middle, (y0 + y1) / 2 - 5, _describe(head)))
    for name, (x, y) in centres.items():
        space = name in graph.spaces
        label = f"{name} [{graph.spaces[name]}]" if space else name
        kind = "space" if space else "view" if name in graph.views else "modality"
        if kind == "view":
            shapes.append(_SMALL_TEXT.format("", x, y + half_height + 13, f"view of {graph.views[name]}"))
        shapes.append(_RECTANGLE.format(kind, x - half_width, y - half_height, *_BOX))
        shapes.append(_TEXT.format(x, y + 5, label))
        pairs = _pairs(graph, name)
        if len(pairs) > _ABOVE or any(len(pair) > _LETTERS for pair in pairs):
            below += [f"in {name}:", *pairs]
            pairs = [f"{len(pairs)} pair{'s' * (len(pairs) > 1)}, see below"]
        for row, pair in enumerate(pairs):
            shapes.append(_SMALL_TEXT.format(" pair", x, y - half_height - 8 - 14 * row, pair))
    width = max([x + 130 for x, _ in centres.values()] + [2 * 31 + _LETTER * len(line) for line in below])
    height = max(y for _, y in centres.values()) + 70
    shapes += [_LINE.format(31, height + 14 * row, line) for row, line in enumerate(below)]
    height += 14 * len(below)
    drawing = _WHOLE.format(width=width, height=height, style=_STYLE, tip=_TIP, shapes=Markup().join(shapes))
    return Markup(document.visible(drawing))
