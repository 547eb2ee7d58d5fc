"""dataset.json: what a folder of records holds. Written by beam, read by whoever reads the records. No TensorFlow here.

Readers need the counts: a TFRecord reader that skips bad records loses the rest of the file without a word, so what
was read is compared with what was written.
"""

import collections
import dataclasses
import enum
import json
import os
import pathlib

from mmv_tf.common import files, paths
from mmv_tf.records import card_checks
from mmv_tf.records.schema import SCHEMA_VERSION

FILE_NAME = "dataset.json"
DEAD_LETTERS = "dead_letters.jsonl"  # beside it: a line of JSON for each clip that was rejected, and each Remark


@dataclasses.dataclass
class Split:
    """One split, as one run of the preprocessing wrote it."""

    shards: dict[str, int]  # file name -> number of records
    counters: dict = dataclasses.field(
        default_factory=dict
    )  # read, accepted, rejected, reasons, remarks {code: n}, ...
    word_counts: dict[str, int] = dataclasses.field(default_factory=dict)  # of its captions, most frequent first
    settings: dict = dataclasses.field(default_factory=dict)  # clip_seconds, max_captions, ...

    @property
    def num_records(self):
        return sum(self.shards.values())


@dataclasses.dataclass
class DatasetCard:
    """The contents of dataset.json. frame_rate and sample_rate in Hz, short_side in pixels."""

    frame_rate: float
    sample_rate: int
    short_side: int
    splits: dict[str, Split] = dataclasses.field(default_factory=dict)  # name ('train', ...) -> Split
    label_map: dict[str, int] = dataclasses.field(default_factory=dict)  # label text -> index, shared by the splits
    versions: dict[str, str] = dataclasses.field(default_factory=dict)  # of the tools that wrote the records
    schema_version: int = SCHEMA_VERSION

    @property
    def shards(self):
        """File name -> number of records, over all splits."""
        return {name: count for split in self.splits.values() for name, count in split.shards.items()}

    @property
    def counters(self):
        """The counters summed over the splits."""
        total = collections.Counter(read=0, accepted=0, rejected=0)
        by_code = {name: collections.Counter() for name in ("reasons", "remarks")}
        for split in self.splits.values():
            total.update({name: value for name, value in split.counters.items() if name not in by_code})
            for name, counter in by_code.items():
                counter.update(split.counters.get(name, {}))
        return {**total, **{name: dict(sorted(counter.items())) for name, counter in by_code.items()}}

    @property
    def word_counts(self):
        """Word -> count summed over the splits, most frequent first: hints for a vocabulary, not all words."""
        total = collections.Counter()
        for split in self.splits.values():
            total.update(split.word_counts)
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def files(self, split):
        """Names of the shards of a split, in order.

        Raises:
          ValueError: there is no such split; names those that exist.
        """
        if split not in self.splits:
            raise ValueError(f"no split {split!r} in this dataset; it has {', '.join(sorted(self.splits)) or 'none'}")
        return sorted(self.splits[split].shards)

    def save(self, directory, write_text=None):
        """Writes directory/dataset.json whole: under a temporary name first, then moved.

        Args:
          directory: folder of records.
          write_text: function of a path and a text that does so, for folders that are not local.
        """
        # The order of word_counts (most frequent first) is meant for people, so keys are not sorted here.
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"
        if write_text:
            write_text(os.path.join(directory, FILE_NAME), text)
            return
        files.write_text(pathlib.Path(directory) / FILE_NAME, text)


def load(directory, read_text=None):
    """Reads directory/dataset.json into a DatasetCard.

    Args:
      directory: folder of records.
      read_text: function from a path to its text, for folders that are not local; FileNotFoundError if there is none.

    Raises:
      ValueError: missing, not JSON, a wrong or missing field, or of a newer schema; the message names the file.
    """
    path = os.path.join(paths.home(directory), FILE_NAME)
    try:
        text = read_text(path) if read_text else _text(path)
    except FileNotFoundError:
        raise ValueError(
            f"{path}: not found; `python -m mmv_tf.beam.preprocess` writes it beside the records"
        ) from None
    except UnicodeError as error:
        raise ValueError(f"{path}: not a text ({error}); preprocess again") from None
    try:
        fields = card_checks.parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); preprocess again") from None
    version = fields.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{path}: no schema_version; preprocess again")
    if version > SCHEMA_VERSION:
        raise ValueError(f"{path}: schema_version {version} is newer than {SCHEMA_VERSION}; update mmv_tf")
    try:
        card_checks.check(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; it was damaged or changed by hand: preprocess again") from None
    try:
        splits = {name: Split(**split) for name, split in fields.pop("splits").items()}
        return DatasetCard(splits=splits, **fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: wrong or missing field ({error}); preprocess again") from None


def dead_letter(line: str | bytes) -> dict:
    """A line of dead_letters.jsonl: split, path, key, reason and detail, if preprocess wrote it.

    Raises:
      ValueError: no JSON object. Which keys an object has, and what they hold, is not looked at.
    """
    return card_checks.parse(line)


def _text(path):
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError(f"{path}: not a regular file")
    if os.path.exists(path) and os.path.getsize(path) > card_checks.MAX_BYTES:
        raise ValueError(f"{path}: over {card_checks.MAX_BYTES} bytes; it is none that preprocess wrote")
    return pathlib.Path(path).read_text("utf-8")


class Reason(enum.Enum):
    """Why a clip, or a whole source, is not in the records. The codes of dead_letters.jsonl."""

    BAD_ROW = "bad_row"  # the row of the manifest, or the file name, cannot be used (no path, end before start, ...)
    OUTSIDE_ROOT = "outside_root"  # the path leads out of the root, also through a symbolic link
    MISSING_FILE = "missing_file"  # there is no such file, it is no regular file, or it cannot be read
    NOT_A_VIDEO = "not_a_video"  # no container of the allowed formats, or neither pictures nor sound in it
    TOO_LARGE = "too_large"  # over a limit: bytes of the file, pixels, duration of the source or of the clip
    TRUNCATED = "truncated"  # the source ends well before the duration that its header states; what is there is kept
    EMPTY_CLIP = "empty_clip"  # neither pictures nor sound in the span that was asked for
    DECODE_ERROR = "decode_error"  # the decoder failed, or on more pictures of the clip than it decoded
    OUT_OF_MEMORY = "out_of_memory"  # decoding needed more memory than allowed
    TIMEOUT = "timeout"  # no clip, or not all clips, within the time allowed; the decoding process was killed
    CRASH = "crash"  # the decoding process died


# Codes of reasons that lie in the moment: a second run may do better, and tries again.
OF_THE_MOMENT = frozenset(
    one.value for one in (Reason.TIMEOUT, Reason.CRASH, Reason.OUT_OF_MEMORY, Reason.MISSING_FILE)
)


class Remark(enum.Enum):
    """What was mended or left out beside the clips; in dead_letters.jsonl as a Reason is, though no clip was lost."""

    IGNORED_FILE = "ignored_file"
    UNUSED_CAPTIONS = "unused_captions"
    CAPTION_DROPPED = "caption_dropped"
    CAPTION_MENDED = "caption_mended"
    CAPTION_REPEATED = "caption_repeated"
    ENCODING_GUESSED = "encoding_guessed"
    COLUMN_IGNORED = "column_ignored"
    ROW_JOINED = "row_joined"
    SUBTITLES_IGNORED = "subtitles_ignored"
    STREAM_CHOSEN = "stream_chosen"
    SOUND_FAILED = "sound_failed"

    @property
    def text(self):
        """What the number of such remarks counts."""
        return _REMARKS[self]


_REMARKS = {
    Remark.IGNORED_FILE: "files ignored: of no kind that is read",
    Remark.UNUSED_CAPTIONS: "files of captions not used",
    Remark.CAPTION_DROPPED: "captions dropped: empty, without valid times, or too many",
    Remark.CAPTION_MENDED: "characters replaced or texts shortened",
    Remark.CAPTION_REPEATED: "captions left out that only repeat what was on the screen",
    Remark.ENCODING_GUESSED: "files that are not UTF-8, read by the likeliest encoding",
    Remark.COLUMN_IGNORED: "columns of tables ignored",
    Remark.ROW_JOINED: "rows joined with an earlier row of the same path and span",
    Remark.SUBTITLES_IGNORED: "tracks of subtitles inside a video ignored: give them as .srt or .vtt",
    Remark.STREAM_CHOSEN: "sources with several streams of a kind, of which one was taken",
    Remark.SOUND_FAILED: "clips whose sound could not be decoded, kept for their pictures",
}
