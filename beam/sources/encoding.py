"""The text in the bytes of a file that may be in any encoding: of captions and of tables."""

import codecs

from mmv_tf.records.card import Remark

# The longer ones first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# Those in use for text that is not Unicode, by how often one meets them: what comes first is taken where a text is too
# short for more to be said.
_OTHERS = (
    "cp1252 cp1251 cp1250 cp1253 cp1254 cp1255 cp1256 cp1257 cp932 gb18030 big5 cp949 euc_jp koi8_r cp874 cp1258 "
    "cp866 iso8859_5"
).split()
_SAMPLE = 1 << 16  # bytes that an encoding is guessed from
_MOST_GUESSED = 16 << 20  # bytes of a file
_LEAST_NULS = 0.02  # of the bytes: digits, spaces and line ends of any text have them in UTF-16


def decode(data, remarks):
    """The text of `data`. A guess, and bytes that are no text in the encoding found, get a remark."""
    encoding = detect(data)
    if encoding != "utf-8" and not _marked(data):
        remarks.add(Remark.ENCODING_GUESSED, f"not UTF-8; read as {encoding}")
    return data.decode(encoding, errors="replace").lstrip("\ufeff")


def of_file(path):
    """(encoding, whether it is sure) of a file of any size, read piece by piece."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(path, "rb") as file:
        data = file.read(_SAMPLE)
        name = _marked(data) or _wide(data)
        if name:
            return name, _marked(data) is not None
        try:
            while piece := data or file.read(1 << 20):
                decoder.decode(piece)
                data = b""
            decoder.decode(b"", final=True)
            return "utf-8", True
        except UnicodeDecodeError:
            file.seek(0)
            return _narrow(file.read(_MOST_GUESSED)), False


def detect(data):
    """The name of the encoding, by the byte-order mark, the zeros of UTF-16 and 32, or else by charset-normalizer."""
    if encoding := _marked(data) or _wide(data):
        return encoding
    try:
        data.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        return _narrow(data)


def _marked(data):
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _wide(data):
    """UTF-16 or 32 without a mark: the zeros lie in every second place, or in three of four."""
    sample = data[: _SAMPLE & ~3]
    zeros = [sample[place::4].count(0) for place in range(4)]
    total = sum(zeros)
    if total < 2 or total < _LEAST_NULS * len(sample):
        return None
    quarter = len(sample) // 4
    # U+10FFFF is the last character: of four bytes one is always zero, and nearly always two.
    if zeros[3] == quarter and zeros[2] > 0.9 * quarter:
        return "utf-32-le"
    if zeros[0] == quarter and zeros[1] > 0.9 * quarter:
        return "utf-32-be"
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if min(even, odd) <= 0.05 * max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _narrow(data):
    text = data.decode("utf-8", errors="replace")
    wrong = text.count("\ufffd")
    right = sum(char > "\x7f" for char in text) - wrong
    if right > wrong:  # letters of other encodings are UTF-8 by chance only: this is a text with damage
        return "utf-8"
    from charset_normalizer import from_bytes

    # Digits and times say nothing, and there are many of them.
    lines, size = [], 0
    for line in data.splitlines(keepends=True):
        if not line.isascii() and size < _SAMPLE:
            lines.append(line)
            size += len(line)
    matches = list(from_bytes(b"".join(lines)[:_SAMPLE], cp_isolation=list(_OTHERS)))
    if not matches:
        return "cp1252"
    # No letters that do not belong together, then words of a language, then what is common.
    least, most = round(min(match.chaos for match in matches), 2), max(match.coherence for match in matches)
    candidates = [match for match in matches if match.chaos <= least + 0.01 and match.coherence >= most - 0.05]
    names = {name for match in candidates or matches[:1] for name in match.could_be_from_charset}
    return next((name for name in _OTHERS if name in names), matches[0].encoding)
