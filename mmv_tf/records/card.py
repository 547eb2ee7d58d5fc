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
from mmv_tf.records.schema import SCHEMA_VERSION

FILE_NAME = "dataset.json"
DEAD_LETTERS = "dead_letters.jsonl"  # beside it: a line of JSON for each clip that was rejected


@dataclasses.dataclass
class Split:
    """One split, as one run of the preprocessing wrote it."""

    shards: dict[str, int]  # file name -> number of records
    counters: dict = dataclasses.field(default_factory=dict)  # read, accepted, rejected, reasons {code: n}, ...
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
        reasons = collections.Counter()
        for split in self.splits.values():
            total.update({name: value for name, value in split.counters.items() if name != "reasons"})
            reasons.update(split.counters.get("reasons", {}))
        return {**total, "reasons": dict(sorted(reasons.items()))}

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
        fields = json.loads(read_text(path) if read_text else pathlib.Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path}: not found; `python -m mmv_tf.beam.preprocess` writes it beside the records"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); preprocess again") from None
    try:
        version = fields["schema_version"]
        if version > SCHEMA_VERSION:
            raise ValueError(f"{path}: schema_version {version} is newer than {SCHEMA_VERSION}; update mmv_tf")
        splits = {name: Split(**split) for name, split in fields.pop("splits").items()}
        return DatasetCard(splits=splits, **fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: wrong or missing field ({error}); preprocess again") from None


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
