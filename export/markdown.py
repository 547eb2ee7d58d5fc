"""Markdown that no content can break: what comes from outside (paths, captions, licences, JSON) stays text."""

import re
import unicodedata

_SPECIAL = re.compile(r"([\\`*_\[\]<>&|~$!#])")
_MOST = 300  # characters of one value


def escape(value) -> str:
    """A value as text of one line, also inside a table: no mark-up, no line break, no invisible characters."""
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in str(value))
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    shortened = text if len(text) <= _MOST else text[: _MOST - 3] + "..."
    return _SPECIAL.sub(r"\\\1", shortened)


def fenced(text: str, language: str = "") -> str:
    """A block of text as it is, in a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(header, rows) -> str:
    """A table; cells are escaped."""
    lines = [list(header), ["---"] * len(header), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bullets(items) -> str:
    """A list of lines that are Markdown already."""
    return "\n".join(f"- {item}" for item in items)


def sections(title: str, parts) -> str:
    """A document of (heading, Markdown) pairs; parts without content are left out."""
    blocks = [f"# {title}", *(f"## {heading}\n\n{text}" for heading, text in parts if text)]
    return "\n\n".join(blocks) + "\n"
