"""An HTML page taken apart: its elements, what stands in them, and where its addresses lead."""

import html.parser

_VOID = ("meta", "img", "br", "link", "input", "hr")


class Shape(html.parser.HTMLParser):
    """`elements` is [(tag, names of its attributes)]; `texts` are those between tags and in attributes.

    Fails where a tag is not closed, or an address leads out of the page.
    """

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, tuple(name for name, _ in attributes)))
        for name, value in attributes:
            if name in ("src", "href"):
                assert value.startswith(("data:", "#")), value
            if not (value or "").startswith("data:"):
                self.texts.append(value or "")

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)
