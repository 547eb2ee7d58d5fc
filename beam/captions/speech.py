"""The words of a caption, without what only its display needs: tags, entities, line breaks, control characters."""

import html
import re
import unicodedata

from mmv_tf.records.card import Remark
from mmv_tf.records.schema import MAX_CHARACTERS

# Tags of WebVTT, SubRip and SubStation, as far as they are known: `a < b and c > d` is text, and so is <laughs>.
_CLASSES = r"(?:\.[\w-]{1,50}){0,9}"
_PLAIN = r"b|i|u|s|c|em|strong|big|small|sub|sup|tt|ruby|rp|nobr"
_ATTRIBUTES = r"""(?:\s+[\w-]{1,50}\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)){0,9}"""
_TAG = re.compile(
    rf"<(?:/?(?:{_PLAIN}){_CLASSES}{_ATTRIBUTES}\s*/?"  # <i>, <c.yellow>
    rf"|/?(?:font|span|p|div|a){_ATTRIBUTES}\s*/?"
    rf"|/?(?:v|lang){_CLASSES}(?:\s[^<>]{{0,200}})?"  # <v Mary>, <lang en-GB>
    r"|(?:\d{1,6}:)?\d{1,2}:\d{1,2}\.\d{1,6}"  # <00:00:01.000>
    r")>"
    r"|\{\\[^{}]*\}|\{/?[biu]\}|\{y:[a-z,]+\}",  # {\an8}, {i}
    re.IGNORECASE,
)
_READING = re.compile(r"<rt(?:\.[\w-]{1,50}){0,9}>.*?(?:</rt>|(?=</ruby>|<rt)|$)", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(r"<br\s*/?>|\\[Nnh]", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,9}|#x[\da-f]{1,8}|[a-z][a-z\d]{1,31});", re.IGNORECASE)
_MOST_LOOKED_AT = 100 * MAX_CHARACTERS  # with markup
_MOST_ESCAPES = 3  # &amp;amp;#39; is what several tools in turn make of one apostrophe

REPLACED = "\ufffd"


def clean(text, remarks):
    """One line of bounded length: what is said, without markup, control characters and lone surrogates; form NFC."""
    text = text[:_MOST_LOOKED_AT]
    if "<" in text or "{" in text or "\\" in text:
        text = _TAG.sub("", _BREAK.sub(" ", _READING.sub("", text)))
    for _ in range(_MOST_ESCAPES):
        if "&" not in text or not _ENTITY.search(text):
            break
        text = _ENTITY.sub(_character, text)
    # After it is cut: to sort the marks of a long text takes the square of its length.
    return one_line(unicodedata.normalize("NFC", one_line(text, remarks)), remarks)


def _character(entity):
    found = html.unescape(entity[0])
    return " " if found == REPLACED else found  # &#0;, &#xD800;: no characters


def one_line(text, remarks):
    """A text that is not to be interpreted, such as a label, as one printable line of at most MAX_CHARACTERS."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _instead(char) for char in text)
    text = " ".join(text.split())
    if len(text) > MAX_CHARACTERS:
        remarks.add(Remark.CAPTION_MENDED, f"shortened to {MAX_CHARACTERS} characters: {text[:40]}...")
        text = text[:MAX_CHARACTERS].rstrip()
    return text


def _instead(char):
    # Marks of direction, soft hyphens and joiners stand within words; U+200B stands between words.
    return "" if unicodedata.category(char) == "Cf" and char != "\u200b" else " "
