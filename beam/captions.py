"""Narrations: reading .srt and .vtt files, and choosing those nearest in time to a clip."""

import dataclasses
import hashlib
import os
import pathlib
import re

from mmv_tf.records.schema import MAX_CHARACTERS, Caption

SUFFIXES = (".srt", ".vtt")

MAX_FILE_BYTES = 16 << 20
MAX_CAPTIONS = 100_000  # a file

# 00:01:02,500 --> 00:01:04.000 : hours may be missing in WebVTT; cue settings may follow.
_CLOCK = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}")
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")  # <i>, <00:00:01.000>, {\an8}


@dataclasses.dataclass
class Counts:
    """What was mended or dropped while reading captions; shown in the summary, never silent."""

    replaced_characters: int = 0  # not valid UTF-8
    shortened: int = 0  # longer than MAX_CHARACTERS
    dropped: int = 0  # empty, without a valid time, or over MAX_CAPTIONS or MAX_FILE_BYTES


def clean(text, counts):
    """One line of bounded length, without markup, control characters and lone surrogates."""
    text = _MARKUP.sub("", text)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    text = " ".join(text.split())
    if len(text) > MAX_CHARACTERS:
        counts.shortened += 1
        text = text[:MAX_CHARACTERS].rstrip()
    return text


def _seconds(hours, minutes, seconds, fraction):
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def parse(text, counts):
    """The captions of an .srt or .vtt text, in the order of their start.

    Both are blocks between empty lines, with a line of times and then the words; all else (numbers, WEBVTT, NOTE,
    STYLE) has no line of times, and is skipped.
    """
    found = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.split("\n")
        for i, line in enumerate(lines[:3]):
            if times := _TIMES.match(line):
                start, end = _seconds(*times.groups()[:4]), _seconds(*times.groups()[4:])
                words = clean(" ".join(lines[i + 1 :]), counts)
                if words and end >= start and len(found) < MAX_CAPTIONS:
                    found.append(Caption(words, start, end))
                else:
                    counts.dropped += 1
                break
        else:
            counts.dropped += "-->" in block  # a line of times that is none
    return sorted(found, key=lambda caption: caption[1:])


def read(path, counts):
    """The captions of a file. Bytes that are not valid text are replaced and counted; what is too long is cut."""
    with pathlib.Path(path).open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        data = data[:MAX_FILE_BYTES]
        counts.dropped += 1
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(encoding, errors="replace")
    counts.replaced_characters += text.count("\ufffd")
    return parse(text, counts)


def beside(video):
    """The narration file of a video, x.srt or x.vtt beside x.mp4 or x.mp4.srt, or None."""
    video = pathlib.Path(video)
    for stem in (video.with_suffix(""), video):
        for suffix in SUFFIXES:
            candidate = stem.with_name(stem.name + suffix)
            # Not candidate.is_file(), which raises where the name is longer than a file's may be.
            if os.path.isfile(candidate) and not os.path.islink(candidate):
                return candidate
    return None


def nearest(captions, start, end, max_captions, max_gap, key=""):
    """The captions of a clip, nearest in time first, as the candidates of MIL-NCE (Miech et al., CVPR 2020, 3.1).

    Args:
      captions: of the source; those without times are about the whole clip.
      start, end: of the clip, seconds.
      max_captions: how many at most.
      max_gap: seconds between the spans of clip and caption from which on a caption is not about the clip any more.
      key: of the clip.
    Returns:
      tuple of Caption. Nearer means: a smaller gap between the two spans, then nearer middles, then earlier. Of equal
      ones, such as sentences about the whole clip, those that are one too many go by a hash of key and text: the order
      in which they come can be that of the alphabet.
    """
    timed = [c if c.start is not None else Caption(c.text, start, end) for c in captions]

    def distance(caption):
        gap = max(0.0, caption.start - end, start - caption.end)
        return gap, abs((caption.start + caption.end) - (start + end)) / 2, caption.start

    def draw(caption):
        return hashlib.sha256(f"{key}\x1f{caption.text}".encode("utf-8", "surrogatepass")).digest()

    # Equal ones stay in the order that they came in, as far as all of them are taken.
    near = sorted((distance(caption), number) for number, caption in enumerate(timed))
    near = [(far, number) for far, number in near if far[0] <= max_gap]
    if len(near) > max_captions:
        last = near[max_captions - 1][0]
        inside = [one for one in near if one[0] < last]
        equal = [one for one in near if one[0] == last]
        drawn = sorted(equal, key=lambda one: draw(timed[one[1]]))[: max_captions - len(inside)]
        near = inside + sorted(drawn)
    return tuple(timed[number] for _, number in near)
