"""TFRecord shards and how many records each holds."""

import contextlib
import dataclasses
import fnmatch
import itertools
import os
from collections.abc import Iterable, Iterator

import tensorflow as tf

from mmv_tf.common import paths
from mmv_tf.inputs.faults import FAULT_MARK
from mmv_tf.records import card as dataset_card
from mmv_tf.records import schema
from mmv_tf.records.naming import parse_shard_name
from mmv_tf.records.tfrecord import FOOTER, HEADER, checksum, content_length, count_records

_LOOKED_AT = 16  # records, for the sizes of their frames


@dataclasses.dataclass(frozen=True)
class Shards:
    """Files in the order of their names, and the number of records in each; none is empty."""

    files: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def num_records(self) -> int:
        return sum(self.counts)


def find(pattern) -> Shards:
    """The shards that a pattern means, with counts from the dataset.json beside them, or counted if there is none.

    Args:
      pattern: a glob such as 'records/train-*', or several; local or remote.
    Raises:
      ValueError: nothing matches, a shard of dataset.json is missing, a shard is not in the dataset.json beside it (so
        it is while preprocess is at work, and after it was killed) or of another run than its neighbours, or there is
        no record at all. Names the pattern or the file.
    """
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    counts = {}
    for one in patterns:
        one = paths.home(one)
        files = [file for file in paths.matching(one) if not tf.io.gfile.isdir(file)]
        if "://" not in one and (pipes := [file for file in files if not os.path.isfile(file)]):
            raise ValueError(f"{pipes[0]}: not a regular file")  # it would be waited for
        if not files:
            raise ValueError(f"no file matches {one!r}; a pattern of records looks like 'records/train-*'")
        known, by_folder = {}, {}
        for file in files:
            by_folder.setdefault(os.path.dirname(file), []).append(file)
        for folder, of_folder in by_folder.items():
            known |= _known_counts(folder, os.path.basename(one), of_folder)
        for file in files:
            counts[file] = known[file] if file in known else count_records(file)
    # An empty shard is legal (a split by hash can leave one) and never opened.
    files = [file for file in sorted(counts) if counts[file]]
    if not files:
        raise ValueError(f"the files that match {', '.join(map(repr, patterns))} hold no record")
    return Shards(tuple(files), tuple(counts[file] for file in files))


def held_out_beside(patterns) -> str:
    """The pattern of the test or validation records in the first folder of training records that has some, or ''.

    Args:
      patterns: of the training records, each a glob or several.
    """
    for pattern in itertools.chain.from_iterable([one] if isinstance(one, str) else one for one in patterns):
        for split in ("test", "validation", "val"):
            other = os.path.join(os.path.dirname(pattern), f"{split}-*")
            if paths.matching(other):
                return other
    return ""


def _known_counts(folder, pattern, files):
    """{path: records} of the shards in the dataset.json of a folder, if there is one, whose names a pattern matches.

    Args:
      files: of the folder, that were found by the pattern.
    Raises:
      ValueError: they are not the shards of one run that has ended.
    """
    shards = {file: parts for file in files if (parts := parse_shard_name(os.path.basename(file)))}
    if not tf.io.gfile.exists(os.path.join(folder, dataset_card.FILE_NAME)):  # records of other tools
        numbers = {}
        for file, parts in shards.items():
            other = numbers.setdefault(parts.split, file)
            if shards[other].number != parts.number:
                raise ValueError(
                    f"{file} and {os.path.basename(other)} are shards of two runs, which may hold the same records: "
                    f"take the older ones away, or name those of one, such as '{parts.split}-*-of-{parts.number:05d}*'"
                )
        return {}
    card = dataset_card.load(folder, read_text=lambda path: tf.io.gfile.GFile(path).read())
    known = {os.path.join(folder, shard): n for shard, n in card.shards.items() if fnmatch.fnmatch(shard, pattern)}
    if absent := sorted(set(known) - set(files)):
        raise ValueError(f"{absent[0]} is in dataset.json and not in the folder; copy it there, or preprocess again")
    if strange := sorted(set(shards) - set(known)):
        raise ValueError(
            f"{strange[0]} is not in the dataset.json beside it: a run of preprocess has not ended; start it again "
            "(what another tool wrote needs a folder of its own)"
        )
    return known


def slices(found: Shards) -> tf.data.Dataset:
    """The arguments of `read_shard` for all records of each shard."""
    counts = tf.constant(found.counts, tf.int64)
    return tf.data.Dataset.from_tensor_slices((tf.constant(found.files), counts, tf.zeros_like(counts), counts))


def read_shard(file: tf.Tensor, count: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.data.Dataset:
    """Records [begin, end) of a shard that should hold `count`; fewer or more are an error that names it.

    TFRecordDataset names no file when a record is corrupt. Here errors only end the file, and the number of records
    that came shows it: a mark follows the last record, and what comes too early or too late is an error.
    """
    records = tf.data.TFRecordDataset(file).skip(begin).ignore_errors(log_warning=True)
    # A file that cannot be opened would be tried for ever under ignore_errors: it must fail before.
    opened = tf.data.FixedLengthRecordDataset(file, 1, buffer_size=64).take(1).filter(lambda _: False)
    records = opened.concatenate(records)
    marked = records.map(lambda record: (record, True)).concatenate(tf.data.Dataset.from_tensors(("", False)))

    def check(offset, element):
        record, is_record = element
        number = begin + offset
        name, total = tf.strings.join(["shard ", file]), tf.strings.as_string(count)
        short = tf.strings.join(
            [
                FAULT_MARK,
                name,
                ": record ",
                tf.strings.as_string(number),
                " of ",
                total,
                " cannot be read (corrupt, or the ",
            ]
            + ["file is truncated or holds fewer than dataset.json says); preprocess again or take the shard away"]
        )
        long = tf.strings.join([FAULT_MARK, name, ": holds more than the ", total, " records that dataset.json says"])
        asserts = [
            tf.debugging.Assert(is_record | (number == count), [short]),
            tf.debugging.Assert(~is_record | (number < count), [long]),
        ]
        with tf.control_dependencies(asserts):
            return tf.identity(record), tf.identity(is_record)

    # The mark belongs to a range that reaches the end of the shard.
    checked = marked.take(end - begin + tf.cast(end == count, tf.int64)).enumerate().map(check)
    return checked.filter(lambda _, is_record: is_record).map(lambda record, _: record)


def frame_sizes(found: Shards) -> list[tuple[int, int]]:
    """(height, width) of the frames of some records from all over the shards; fewer where some cannot be read."""
    files = list(zip(found.files, found.counts, strict=True))[:: -(-len(found.files) // _LOOKED_AT)]
    sizes, each = [], -(-_LOOKED_AT // len(files))
    for file, count in files:
        records = read_what_can_be_read(file, count, 0, min(each, count))
        with contextlib.suppress(tf.errors.OpError):  # which the reading of all of it names
            sizes += sizes_of(records.as_numpy_iterator())
    return sizes


def sizes_of(records: Iterable) -> list[tuple[int, int]]:
    """(height, width) of the frames of serialized records; who reads all of them names those that are bad."""
    sizes = []
    for content in records:
        try:
            jpegs = schema.parse(content, ("video",))["video"]
            sizes += [tuple(tf.io.extract_jpeg_shape(jpeg)[:2].numpy().tolist()) for jpeg in jpegs[:1]]
        except tf.errors.InvalidArgumentError:
            continue
    return sizes


def read_what_can_be_read(file: tf.Tensor, count: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.data.Dataset:
    """Like `read_shard`, but goes on after a record that is damaged: in its place comes FAULT_MARK and the reason.

    That text is no SequenceExample, so what parses it fails as it does on other bad records. Where the length of a
    record is damaged nobody knows where the next one begins: all that follow in the shard count as damaged, too.
    """
    return tf.data.Dataset.from_generator(
        _payloads, output_signature=tf.TensorSpec([], tf.string), args=(file, count, begin, end)
    )


def _payloads(path: bytes, count: int, begin: int, end: int) -> Iterator[bytes]:
    path = path.decode()
    with tf.io.gfile.GFile(path, "rb") as file:
        size, position, lost = file.size(), 0, None
        for number in range(end):
            if not lost:
                length, lost = content_length(file.read(HEADER), size - position, number)
            if lost:
                if number >= begin:
                    yield (FAULT_MARK + lost).encode()
                continue
            position += HEADER + length + FOOTER
            if number < begin:
                file.seek(position)
                continue
            content = file.read(length + FOOTER)
            whole = content[length:] == checksum(content[:length])
            yield content[:length] if whole else (FAULT_MARK + "its checksum does not fit its content").encode()
        if end == count and not lost and position < size:
            raise ValueError(f"{FAULT_MARK}shard {path}: holds more than the {count} records that dataset.json says")


def read_at(file: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The record that begins at a byte of a shard: (whether it is whole, its content or '').

    Nothing before it is read, and of the file not more than the record.

    Args:
      file: scalar string.
      offset: scalar int64; -1, where no record begins, gives (False, '').
    Raises:
      tf.errors.OpError: the file cannot be opened.
    """
    stored = tf.raw_ops.TFRecordDatasetV2(
        filenames=[file], compression_type="", buffer_size=tf.constant(0, tf.int64), byte_offsets=[offset]
    )
    stored = tf.data.experimental.from_variant(stored, tf.TensorSpec([], tf.string))
    stored = stored.take(tf.cast(offset >= 0, tf.int64))
    # The yes is used up by the first try, so that an error is not tried again under ignore_errors.
    whole = tf.data.Dataset.zip(tf.data.Dataset.from_tensors(True), stored).ignore_errors()
    found = whole.concatenate(tf.data.Dataset.from_tensors((False, ""))).take(1)
    is_whole, content = found.get_single_element()
    # A file that is gone is no damaged record. Its error was ignored, and is raised here.
    opened = tf.cond(is_whole, lambda: "", lambda: _first_byte(file))
    with tf.control_dependencies([opened]):
        return is_whole, tf.identity(content)


def _first_byte(file):
    first = tf.data.FixedLengthRecordDataset([file], 1, buffer_size=64).concatenate(tf.data.Dataset.from_tensors(""))
    return first.take(1).get_single_element()
