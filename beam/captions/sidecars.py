"""The files of captions that belong to a video, and the one of several that is taken.

To x.mp4 belong x.srt, x.mp4.srt, x.en.vtt, x.en-orig.srt, x.pt-BR.sdh.srt, whatever the case of the suffix and the
form of the letters (names from a Mac are decomposed). Of several, those without a language come first, then English,
then the others by name; where languages are asked for, only those, in that order, after them files without one. Then
the plain one before those marked auto, orig, sdh or forced, .srt before .vtt. The first with a caption in it is taken.
"""

import os
import re
import unicodedata
from typing import NamedTuple

SUFFIXES = (".srt", ".vtt")
# Other files of captions: known, so that they are named, and not read.
OTHER_SUFFIXES = frozenset(".ass .ssa .sbv .ttml .dfxp .smi .sami .sub .idx .lrc .stl .scc".split())

DEFAULT_LANGUAGES = ("en",)

_LANGUAGE = re.compile(r"([a-z]{2,3})((?:[-_][a-z0-9]{2,8})*)", re.IGNORECASE)
_WORST_LAST = ("", "default", "cc", "orig", "original", "auto", "asr", "sdh", "hi", "forced", "foreign")
_NAMES = {"english": "en", "eng": "en", "german": "de", "deutsch": "de", "ger": "de", "deu": "de", "french": "fr"}
_NAMES |= {"fre": "fr", "fra": "fr", "spanish": "es", "spa": "es", "italian": "it", "ita": "it", "portuguese": "pt"}
_NAMES |= {"por": "pt", "russian": "ru", "rus": "ru", "japanese": "ja", "jpn": "ja", "chinese": "zh", "chi": "zh"}
_NAMES |= {"zho": "zh", "korean": "ko", "kor": "ko", "dutch": "nl", "nld": "nl", "dut": "nl"}


class Sidecar(NamedTuple):
    """A file of captions and what its name says."""

    name: str
    languages: tuple[str, ...]  # ('en', 'en-gb'), ('en',), or () where the name says nothing
    rank: tuple  # of those of one language, the least is the best


class Sidecars:
    """The files of captions of a folder, by the video that they belong to.

    Args:
      names: of all files in the folder with the captions.
      videos: of the videos and sounds that they may belong to.
    """

    def __init__(self, names, videos):
        self._of = {}  # video -> list of Sidecar
        self.strangers = []  # names of those that belong to none
        stems = {}  # name in one form -> videos, the most exact form first
        for form in (_plain, _folded):
            for video in videos:
                for stem in (form(os.path.splitext(video)[0]), form(video)):
                    stems.setdefault((form, stem), []).append(video)
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                found = _owners(name, stems)
                for video, sidecar in found:
                    self._of.setdefault(video, []).append(sidecar)
                if not found:
                    self.strangers.append(name)

    def of(self, video, languages=()):
        """(those to try, the best first, those of languages that are not asked for), lists of Sidecar.

        Args:
          languages: as the function of this name gives them; () for any.
        """
        found = self._of.get(video, [])
        order = languages or DEFAULT_LANGUAGES

        def key(sidecar):
            known = min((order.index(one) for one in sidecar.languages if one in order), default=len(order))
            # Asked for by name comes before what may be anything; the default comes after it.
            place = known if sidecar.languages else -1 if not languages else len(order)
            return place, sidecar.languages[:1], sidecar.rank, sidecar.name

        wanted = [one for one in found if not (languages and one.languages) or set(one.languages) & set(order)]
        return sorted(wanted, key=key), [one for one in found if one not in wanted]


def languages(text):
    """('en', 'pt-br') of 'English, pt_BR', as they are asked for: codes or names that are known, between commas.

    Raises:
      ValueError: one that no name of a file can mean; names it.
    """
    found = []
    for one in filter(None, map(str.strip, text.split(","))):
        name = _NAMES.get(one.lower(), one)
        if not _LANGUAGE.fullmatch(name) or name.lower() in _WORST_LAST and name.lower() != "hi":
            names = ", ".join(name for name in _NAMES if len(name) > 3)
            raise ValueError(f"{one!r} is neither a code such as en or pt-BR nor one of the names {names}")
        language, region, _ = _parts(name)
        found.append(f"{language}-{region}" if region else language)
    return tuple(dict.fromkeys(found))


def _parts(mark):
    """(language, region or '', place in _WORST_LAST) of 'pt-BR', 'en-orig', 'eng'."""
    language, region = _LANGUAGE.fullmatch(mark).groups()
    parts = [part for part in re.split("[-_]", region.lower()) if part]
    worst = max([0, *(_WORST_LAST.index(part) for part in parts if part in _WORST_LAST)])
    language = _NAMES.get(language.lower(), language.lower())
    return language, "-".join(part for part in parts if part not in _WORST_LAST), worst


def _plain(name):
    return unicodedata.normalize("NFC", name)


def _folded(name):
    return unicodedata.normalize("NFC", name).casefold()


def _owners(name, stems):
    """list of (video, Sidecar): usually one; several where videos differ by their suffix alone."""
    stem, suffix = os.path.splitext(name)
    marks = []
    while True:
        for form in (_plain, _folded):
            if videos := stems.get((form, form(stem))):
                return [(video, _sidecar(name, suffix, marks)) for video in dict.fromkeys(videos)]
        stem, mark = os.path.splitext(stem)
        if not mark or len(marks) == 3 or not _is_mark(mark[1:]):
            return []
        marks.insert(0, mark[1:])


def _is_mark(text):
    lower = text.lower()
    return lower in _WORST_LAST or lower in _NAMES or bool(_LANGUAGE.fullmatch(text))


def _sidecar(name, suffix, marks):
    language, worst, region = "", 0, ""
    for mark in marks:
        lower = mark.lower()
        if lower in _WORST_LAST and not (lower == "hi" and not language):  # Hindi, or for the hard of hearing
            worst = max(worst, _WORST_LAST.index(lower))
        elif lower in _NAMES:
            language = _NAMES[lower]
        else:
            language, region, place = _parts(mark)
            worst = max(worst, place)
    spoken = tuple(dict.fromkeys(filter(None, (language, region and f"{language}-{region}"))))
    return Sidecar(name, spoken, (worst, region, SUFFIXES.index(suffix.lower())))
