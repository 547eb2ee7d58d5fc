"""Vocabularies: files of one word a line. The id of a word is its line number, from 1; 0 means no word."""

import collections
import functools
import itertools
import os
import re
import sys
import unicodedata
from collections.abc import Sequence

from mmv_tf.common import paths

# Common English words that say nothing about what is seen or heard. MMV removes stop words; its list is not published.
STOP_WORDS = frozenset(
    """
    a about after again all also am an and any are aren't as at be because been before being both but by can cannot
    can't could couldn't did didn't do does doesn't doing don't each few for from further had hadn't has hasn't have
    haven't having he he'd he'll he's her here here's hers herself him himself his how how's i i'd i'll i'm i've if in
    into is isn't it it's its itself just let's me more most my myself no nor not of on once only or other ought our
    ours ourselves own same she she'd she'll she's should shouldn't so some such than that that's the their theirs them
    themselves then there there's these they they'd they'll they're they've this those to too us very was wasn't we
    we'd we'll we're we've were weren't what what's when when's where where's which while who who's whom why why's will
    with won't would wouldn't you you'd you'll you're you've your yours yourself yourselves
    """.split()
)

_CURLY_APOSTROPHES = re.compile("[\u2018\u2019\u02bc]")
_ENDING = re.compile(r"('s|')+$")  # the possessive s goes, too


def words(text: str) -> list[str]:
    """The words of a text as `text.Tokenizer` looks them up, in their order; stop words are among them.

    Lower case; everything but letters, digits, marks and apostrophes separates words. Letters are those of
    Unicode's form KC: composed and decomposed accents, full-width and other variants of a letter are one.
    """
    text = _CURLY_APOSTROPHES.sub("'", unicodedata.normalize("NFC", decomposed(text.lower())))
    text = "".join(char if _belongs(char) else " " for char in text)
    found = (_ENDING.sub("", word).lstrip("'") for word in text.split(" "))
    return [word for word in found if word]


def decomposed(text: str) -> str:
    """The text with letters, digits and marks taken apart as in Unicode's form KD; all else stays as it is.

    What would become something else than letters, digits and marks (such as a space) is left alone. Marks on a letter
    are in one order, however they were written: Windows-1258 has the tones of Vietnamese behind all others.
    """
    text = "".join(map(_parts, text))
    if text.isascii():
        return text
    runs = itertools.groupby(text, lambda char: unicodedata.combining(char) > 0)
    return "".join("".join(sorted(run, key=unicodedata.combining) if is_marks else run) for is_marks, run in runs)


@functools.lru_cache(1 << 16)
def _parts(char: str) -> str:
    parts = unicodedata.normalize("NFKD", char).lower()
    return parts if all(unicodedata.category(part)[0] in "LNM" for part in parts) else char


def variants(words) -> dict[str, str]:
    """{character: `decomposed`} of all characters that words, taken apart themselves, can also be written with."""
    used = {"\u02bc", *"".join(map(decomposed, words))}  # the one apostrophe that is part of a letter
    found = {char: parts for char, parts in _decomposable().items() if used.issuperset(parts)}
    if used & _JAMO:  # syllables of Hangul are taken apart by rule, not by a list
        syllables = map(chr, range(0xAC00, 0xD7A4))
        found |= {char: parts for char in syllables if used.issuperset(parts := _parts(char))}
    return found


@functools.cache
def _decomposable() -> dict[str, str]:
    """All characters beyond ASCII that a list of Unicode takes apart: a tenth of a second."""
    chars = filter(unicodedata.decomposition, map(chr, range(0x80, sys.maxunicode + 1)))
    return {char: parts for char in chars if (parts := _parts(char)) != char}


_JAMO = frozenset(map(chr, range(0x1100, 0x1200)))


@functools.lru_cache(1 << 16)
def _belongs(char: str) -> bool:
    return char == "'" or unicodedata.category(char)[0] in "LNM"


def read(path: str) -> tuple[str, ...]:
    """The words of a vocabulary file; local or remote.

    Raises:
      ValueError: no such file, not UTF-8, or an empty line; names the file and the line.
    """
    import tensorflow as tf

    path = paths.home(path)
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            lines = file.read().decode("utf-8-sig").split("\n")  # some editors mark the beginning
    except tf.errors.OpError as error:
        raise ValueError(f"vocabulary {path}: cannot be read ({error.message})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"vocabulary {path}: not UTF-8 (byte {error.start})") from None
    content = tuple(line.strip() for line in (lines[:-1] if lines[-1] == "" else lines))
    if not content:
        raise ValueError(f"vocabulary {path}: the file is empty; it needs one word a line")
    if "" in content:
        raise ValueError(f"vocabulary {path}: line {content.index('') + 1} is empty; it needs one word a line")
    return content


def write(content, path: str) -> None:
    """Writes a vocabulary file, whole or not at all."""
    from mmv_tf.common import files

    files.write_text(path, "".join(f"{word}\n" for word in content))


def from_card(
    directories: str | Sequence[str], size: int = 65535, min_count: int = 1, split: str | None = None
) -> tuple[str, ...]:
    """The most frequent words in the captions of folders of records, by their dataset.json; without stop words.

    Args:
      directories: one or several, with the dataset.json that `mmv_tf.beam.preprocess` wrote.
      size: at most so many words.
      min_count: leave out words that are rarer.
      split: whose captions count; None: those of all splits.
    Raises:
      ValueError: no dataset.json, no such split, or no word in it; names the folder.
    """
    from mmv_tf.records import card

    directories = [directories] if isinstance(directories, (str, os.PathLike)) else list(directories)
    counts = collections.Counter()
    for directory in directories:
        content = card.load(directory)
        if split is not None:
            content.files(split)  # which knows what to say where there is no such split
        for entry, count in (content if split is None else content.splits[split]).word_counts.items():
            counts.update(dict.fromkeys(words(entry), count))
    found = [entry for entry in counts.items() if entry[1] >= min_count and entry[0] not in STOP_WORDS]
    if not found:
        raise ValueError(
            f"{', '.join(map(str, directories))}: its captions hold no word for a vocabulary (min_count {min_count})"
        )
    return tuple(word for word, _ in sorted(found, key=lambda entry: (-entry[1], entry[0])))[:size]
