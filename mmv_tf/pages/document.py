"""Pages of results: one HTML file that needs nothing else, for a phone and a wide screen, light or dark."""

import html

_STYLE = """
:root { color-scheme: light dark; --bg: #fbfaf7; --fg: #1d2126; --soft: #5d6670; --card: #fff; --line: #e0ddd5;
  --accent: #2f5fa8; --ours: #2f5fa814 }
@media (prefers-color-scheme: dark) {
  :root { --bg: #14171b; --fg: #e7e5df; --soft: #9aa4ae; --card: #1c2127; --line: #30363d; --accent: #7fb0f5;
    --ours: #7fb0f51c }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--bg); color: var(--fg); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 20px 16px 60px }
h1 { font-size: 1.75rem; line-height: 1.2; margin: .4em 0 .3em }
h2 { font-size: 1.25rem; margin: 2em 0 .4em; scroll-margin-top: 1em }
p, ul { max-width: 50em; margin: .5em 0 }
a { color: var(--accent) }
nav a { margin-right: 1em }
.soft { color: var(--soft) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: 3px 0 3px 14px; text-align: right; vertical-align: top }
th { font-weight: 600; color: var(--soft); font-size: .85rem; vertical-align: bottom }
td:first-child, th:first-child { text-align: left; padding-left: 0 }
tr { border-bottom: 1px solid var(--line) }
tr.ours { background: var(--ours); font-weight: 600 }
tr.baseline { color: var(--soft) }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: .8rem; color: var(--soft) }
.legend i { display: inline-block; width: 14px; height: 3px; margin-right: 6px; vertical-align: middle }
.cards { display: grid; gap: 18px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px; min-width: 0 }
.card img { max-width: 100% }
.card.scroll { margin-top: 14px }
.examples td { text-align: left; padding-left: 0; padding-right: 14px }
"""


def document(title: str, body: str) -> str:
    """A whole page. `title` is text, `body` is HTML whose parts are escaped already."""
    title = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )


def table(rows: list[list[str]], classes: list[str] | None = None) -> str:
    """A table of texts; the first row is the head. `classes`: of the other rows ('ours', 'baseline' or '')."""
    classes = classes or [""] * (len(rows) - 1)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        f'<tr class="{name}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row, name in zip(rows[1:], classes, strict=True)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
