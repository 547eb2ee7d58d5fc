"""The captions in an .srt or .vtt file, however it is laid out."""

import itertools
import re
from typing import NamedTuple

from mmv_tf.beam.captions import rolling
from mmv_tf.beam.captions.speech import REPLACED, clean, one_line
from mmv_tf.beam.sources import encoding
from mmv_tf.records.card import Remark
from mmv_tf.records.schema import MAX_SECONDS, Caption

MAX_FILE_BYTES = 16 << 20
MAX_CAPTIONS = 100_000  # a file
_LONGEST_TIMES = 400  # characters of a line of times that are looked at

# 00:01:02,500, 01:02.5, 0:00:01 and what else tools write: hours and fraction may be missing, the fraction may follow a
# colon, spaces may stand anywhere, the time may be below 0.
_CLOCK = r"([-\u2212]?)\s*(\d{1,9}(?:\s*:\s*\d{1,9}){1,3})\s*(?:[.,]\s*(\d{0,9}))?"
_ARROW = r"\s*([-\u2010-\u2015\u2212=]{1,3}\s*(?:>|&gt;))\s*"
_USUAL = ("-->", "--&gt;")
_TIMES = re.compile(rf"\s*{_CLOCK}{_ARROW}{_CLOCK}(?![\d:])(.*)")
_BROKEN_TIMES = re.compile(r"\s*[-\u2212]?\d[^<>]{0,40}-->|.{0,40}-->\s*[-\u2212]?\d{1,9}\s*:\s*\d")
_SETTING = re.compile(r"[A-Za-z]\w{0,20}:\S+")  # line:91%, X1:40
_COMMENT = re.compile(r"(?:NOTE(?:\s|$)|STYLE\s*$|REGION\s*$)")
_NUMBER = re.compile(r"\s*\d{1,9}\s*")


class Cue(NamedTuple):
    """What stands between a line of times and the next one."""

    line: int  # of the times, from 1
    times: tuple[float, float] | None  # seconds; None where the line of times is none
    texts: list[str]  # lines with something in them


def read(file, remarks, name):
    """The captions of a file, in the order of their start.

    Args:
      file: its path, or a descriptor of it, which is closed.
      remarks: a Remarks, in which all that is mended or dropped gets a line.
      name: of the file in them.
    Raises:
      OSError: it cannot be read.
    """
    with open(file, "rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    with remarks.within(name):
        if len(data) > MAX_FILE_BYTES:
            data = data[:MAX_FILE_BYTES]
            remarks.add(Remark.CAPTION_DROPPED, f"all that follows the first {MAX_FILE_BYTES} bytes of the file")
        return parse(encoding.decode(data, remarks), remarks)


def parse(text, remarks):
    """The captions of an .srt or .vtt text, in the order of their start.

    A caption begins at a line of times and ends where the next one begins, less its number or name. Empty lines mean
    nothing, but that comments (NOTE, STYLE, REGION) reach from one to the next.
    """
    cues = _cues(text, remarks)
    spoken = []
    for cue in cues:
        with remarks.within(place=f"line {cue.line}"):
            lines = [line for one in cue.texts if (line := clean(one, remarks))]
            if lost := sum(line.count(REPLACED) for line in lines):
                remarks.add(Remark.CAPTION_MENDED, f"{lost} characters are not valid text: {lines[0][:60]}", lost)
            if why := _unusable(cue, lines, len(spoken)):
                remarks.add(Remark.CAPTION_DROPPED, why)
            else:
                spoken.append(rolling.Shown(max(0.0, cue.times[0]), cue.times[1], lines))
    kept = rolling.spoken(spoken)
    if repeated := len(spoken) - len(kept):
        remarks.add(Remark.CAPTION_REPEATED, f"{repeated} of {len(spoken)} captions", repeated)
    found = [Caption(one_line(" ".join(one.lines), remarks), one.start, one.end) for one in kept]
    return sorted(found, key=lambda caption: caption[1:])


def _unusable(cue, lines, number):
    if cue.times is None:
        return "no valid times"
    if not lines:
        return "no words"
    if cue.times[1] < max(0.0, cue.times[0]):
        return f"it ends at {cue.times[1]:g} s, before it begins"
    if cue.times[1] > MAX_SECONDS:
        return f"it ends at {cue.times[1]:g} s, over {MAX_SECONDS:g} s"
    return f"over {MAX_CAPTIONS} captions" if number >= MAX_CAPTIONS else None


def _cues(text, remarks):
    """list of Cue."""
    lines = re.sub(r"\r+\n?", "\n", text).split("\n")
    is_vtt = lines[0].lstrip().startswith("WEBVTT")
    starts = []  # (index of the line, its match or None)
    for index, line in enumerate(lines):
        if ">" in line or "&gt;" in line:
            times = _TIMES.match(line[:_LONGEST_TIMES])
            if times or _BROKEN_TIMES.match(line[:_LONGEST_TIMES]):
                starts.append((index, times))
    if any(times and times[4] in _USUAL for _, times in starts):
        starts = [(index, times) for index, times in starts if not (times and _is_spoken(times))]
    if not starts:
        return []
    header = _stripped(lines[: starts[0][0]])
    number = int(header.pop()) if header and _NUMBER.fullmatch(header[-1]) else None
    if not is_vtt and any(line.strip(" \t\ufeff") for line in header):
        remarks.add(Remark.CAPTION_DROPPED, "words before the first line of times", place="line 1")
    numbered, found = number is not None, []
    for (index, times), (following, _) in itertools.pairwise([*starts, (None, None)]):
        texts = lines[index + 1 : following]
        if numbered:
            taken = _take_number(texts, None if number is None else number + 1, is_last=following is None)
            number = taken if taken is not None or number is None else number + 1
        if is_vtt and following is not None and (not numbered or taken is None):
            _take_name(texts)
        texts = _without_comments(texts)
        span = None
        if times:
            rest = (times[8] + lines[index][_LONGEST_TIMES:]).split()
            texts.insert(0, " ".join(word for word in rest if not _SETTING.fullmatch(word)))
            span = _seconds(*times.groups()[:3]), _seconds(*times.groups()[4:7])
        found.append(Cue(index + 1, span, texts))
    return found


def _is_spoken(times):
    """Whether what could be a line of times is text, in a file that has an arrow of its own: '12:30 => 13:15 lunch'."""
    return times[4] not in _USUAL and times[3] is None and times[7] is None


def _stripped(lines):
    """The lines less empty ones at their end."""
    end = next((index for index in range(len(lines), 0, -1) if lines[index - 1].strip()), 0)
    return lines[:end]


def _take_number(texts, expected, is_last):
    """Takes the number of the next caption from the end of the lines of this one. Returns it, or None."""
    rest = _stripped(texts)
    if not rest or not _NUMBER.fullmatch(rest[-1]):
        return None
    number, alone = int(rest[-1]), len(rest) == 1
    follows_a_gap, is_adjacent = len(rest) > 1 and not rest[-2].strip(), len(rest) == len(texts)
    if is_last:  # the file breaks off after a number
        is_number = number == expected and follows_a_gap
    else:  # a number that is no text: in its turn, or just before the times and not all there is
        is_number = number == expected or is_adjacent and not alone
    if is_number:
        del texts[len(rest) - 1 :]
        return number
    return None


def _take_name(texts):
    """Takes the name of the next caption of a .vtt, a line of its own just before the times, from the end."""
    if len(texts) > 1 and texts[-1].strip() and not texts[-2].strip():
        texts.pop()


def _without_comments(texts):
    """The lines less blocks of comment, which begin after an empty line and end at the next."""
    kept, in_comment, after_gap = [], False, False
    for line in texts:
        is_gap = not line.strip()
        in_comment = not is_gap and (in_comment or after_gap and bool(_COMMENT.match(line)))
        if not in_comment and not is_gap:
            kept.append(line)
        after_gap = is_gap
    return kept


def _seconds(sign, digits, fraction):
    parts = [int(part) for part in digits.split(":")]
    if fraction is None and len(parts) == 4:  # 00:00:01:000
        fraction = digits.rpartition(":")[2].strip()
        parts.pop()
    days, hours, minutes, seconds = [0] * (4 - len(parts)) + parts
    value = ((days * 24 + hours) * 60 + minutes) * 60 + seconds + float(f"0.{fraction or 0}")
    return -value if sign else value
