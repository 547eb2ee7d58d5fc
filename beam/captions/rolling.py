"""Captions that roll: each cue shows again what is still on the screen, as those that YouTube makes do.

    00:01 --> 00:03  hello and welcome           00:03 --> 00:05  hello and welcome / to the show
    00:05 --> 00:07  to the show / today         is   hello and welcome | to the show | today

What was said is what a cue adds. Files whose cues repeat now and then (a chorus, 'no', 'no') are not of this kind.
"""

from typing import NamedTuple

_NO_PAUSE = 0.1  # seconds between two cues of which the second shows the screen of the first
_SCREEN = 8  # lines at most that stay on a screen
_SHARE = 0.5  # of the cues without a pause before them that repeat, in a file that rolls


class Shown(NamedTuple):
    """What is on the screen from start to end, seconds."""

    start: float
    end: float
    lines: list[str]


def spoken(cues):
    """The cues with what each adds; those that add nothing are left out, and of two that are equal in all the second.

    Args:
      cues: list of Shown, without empty lines.
    Returns:
      list of Shown, by their start.
    """
    cues = list({(cue.start, cue.end, *cue.lines): cue for cue in reversed(cues)}.values())[::-1]
    cues.sort(key=lambda cue: cue[:2])
    words = [[line.split() for line in cue.lines] for cue in cues]
    repeated = [0, *(_repeated(before, after) for before, after in zip(words, words[1:], strict=False))]
    if not _rolls(cues, words, repeated):
        return cues
    found = []
    for number, (cue, lines, again) in enumerate(zip(cues, words, repeated, strict=True)):
        is_echo = again == sum(map(len, lines))
        if is_echo and _pause(cues, number) > _NO_PAUSE:  # said again
            again = 0
        if added := _after(lines, again):
            found.append(cue._replace(lines=added))
    return found


def _rolls(cues, words, repeated):
    joined = [number for number in range(1, len(cues)) if _pause(cues, number) <= _NO_PAUSE]
    adding = [number for number in joined if 0 < repeated[number] < sum(map(len, words[number]))]
    # One cue that ends in the first words of the next says little; a whole line that stays does.
    lines = sum(repeated[number] in _line_ends(words[number]) for number in adding)
    is_evidence = lines > 0 or len(adding) > 1
    return is_evidence and sum(repeated[number] > 0 for number in joined) >= _SHARE * len(joined)


def _pause(cues, number):
    return cues[number].start - cues[number - 1].end


def _line_ends(lines):
    """The numbers of words after which a line ends."""
    total, ends = 0, set()
    for line in lines:
        total += len(line)
        ends.add(total)
    return ends


def _repeated(before, after):
    """How many words of a cue are those of the last lines of the cue before, as many lines as possible."""
    before, words = before[-_SCREEN:], [word for line in after for word in line]
    for first in range(len(before)):
        rest = [word for line in before[first:] for word in line]
        if words[: len(rest)] == rest:
            return len(rest)
    return 0


def _after(lines, number):
    """The lines less their first words."""
    found = []
    for line in lines:
        if rest := line[number:]:
            found.append(" ".join(rest))
        number = max(0, number - len(line))
    return found
