"""The Beam graph of the vocabulary: shards -> narrations, each once -> words -> counts -> the most frequent ones."""

import hashlib
import json
import os

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from mmv_tf.beam import options as run_options
from mmv_tf.beam import storage
from mmv_tf.records import card, reader, vocabulary
from mmv_tf.records.naming import parse_shard_name

COVERAGE_OF = (1024, 4096, 16384)
_DAMAGED, _NARRATION = "damaged", "narration"
_MOST_DAMAGED = 20  # that are told one by one


class ReadNarrations(beam.DoFn):
    """Path of a shard -> ((kind, digest), text): its narrations; and what of it cannot be read."""

    def setup(self):
        run_options.begin_worker()

    def process(self, path):
        with FileSystems.open(path, compression_type="uncompressed") as file:
            for number, record, _, problem in reader.read(file, storage.size(path)):
                if problem:
                    yield (_DAMAGED, f"{path}: {problem}".encode()), ""
                    continue
                starts = record.caption_starts or [None] * len(record.captions)
                for text, start in zip(record.captions, starts, strict=False):
                    # Records of other tools may not say where they are from; then each clip counts.
                    which = repr((record.path or record.key or (path, number), start, text)).encode()
                    yield (_NARRATION, hashlib.sha256(which).digest()[:16]), text.decode("utf-8", "replace")


class _Totals(beam.CombineFn):
    """(word, count) -> (distinct words, words in all, stop words in all)."""

    def create_accumulator(self):
        return 0, 0, 0

    def add_input(self, total, entry):
        word, count = entry
        is_stop_word = word in vocabulary.STOP_WORDS
        return total[0] + (not is_stop_word), total[1] + count, total[2] + count * is_stop_word

    def merge_accumulators(self, totals):
        return tuple(map(sum, zip(*totals, strict=True)))

    def extract_output(self, total):
        return total


def _any(values):
    return next(iter(values))


def _order(entry):
    return -entry[1], entry[0]


def build(pipeline, paths, output, size, min_count=1):
    """The graph: paths of shards -> `output`, and `output`.json.

    Every grouping is bounded: counts are added up where they arise, and no more than `size` words come together.
    """
    distinct = (
        pipeline
        | "Shards" >> beam.Create(paths)
        | "Spread" >> beam.Reshuffle()
        | "ReadNarrations" >> beam.ParDo(ReadNarrations())
        | "Once" >> beam.CombinePerKey(_any)
    )
    damaged = (
        distinct
        | "Damaged" >> beam.Filter(lambda entry: entry[0][0] == _DAMAGED)
        | "Messages" >> beam.Map(lambda entry: entry[0][1].decode("utf-8", "replace"))
        | "SomeOfThem" >> beam.combiners.Top.Of(_MOST_DAMAGED, reverse=True)
    )
    texts = distinct | "Narrations" >> beam.Filter(lambda entry: entry[0][0] == _NARRATION) | "Texts" >> beam.Values()
    counts = (
        texts
        | "Words" >> beam.FlatMap(lambda text: [(word, 1) for word in vocabulary.words(text)])
        | "Count" >> beam.CombinePerKey(sum)
    )
    top = (
        counts
        | "Kept" >> beam.Filter(lambda entry: entry[0] not in vocabulary.STOP_WORDS and entry[1] >= min_count)
        | "MostFrequent" >> beam.combiners.Top.Of(size, key=_order, reverse=True)
    )
    totals = counts | "Totals" >> beam.CombineGlobally(_Totals())
    number = texts | "HowMany" >> beam.combiners.Count.Globally()
    views = [beam.pvalue.AsSingleton(one) for one in (top, totals, number, damaged)]
    return pipeline | "Once more" >> beam.Create([output]) | "Write" >> beam.Map(_write, *views)


def _write(output, top, totals, number, damaged):
    distinct, tokens, stop_words = totals
    report = {
        "narrations": number,
        "tokens": tokens,
        "stop_words": stop_words,
        "distinct_words": distinct,
        "vocabulary_size": len(top),
        "coverage": _coverage([count for _, count in top], tokens - stop_words),
        "damaged": sorted(damaged),
    }
    scratch = os.path.dirname(output)
    if top and not damaged:
        with storage.WholeFile(scratch, output) as file:
            file.write("".join(f"{word}\n" for word, _ in top).encode())
    with storage.WholeFile(scratch, f"{output}.json") as file:
        file.write(json.dumps(report, indent=2).encode() + b"\n")


def _coverage(counts, tokens):
    """{number of words: share of all words that are no stop words which the most frequent so many cover}."""
    sizes = sorted({*(size for size in COVERAGE_OF if size < len(counts)), len(counts)} - {0})
    return {str(size): sum(counts[:size]) / tokens for size in sizes}


def find(folders, split):
    """Paths of the shards of a split in folders of records. Raises ValueError for a folder without such shards."""
    paths = []
    for folder in folders:
        folder = folder if storage.is_remote(folder) else os.path.abspath(folder)
        if not storage.is_remote(folder) and not os.path.isdir(folder):
            raise ValueError(f"--records {folder}: no such folder")
        there = storage.names(folder)
        if card.FILE_NAME in there:
            names = card.load(folder, storage.read_text).files(split)
            if missing := sorted(set(names) - set(there)):
                raise ValueError(f"--records {folder}: {missing[0]} is in dataset.json and not in the folder")
        else:
            names = [name for name in there if (parts := parse_shard_name(name)) and parts.split == split]
        if not names:
            raise ValueError(f"--records {folder}: no shard of the split {split!r}")
        paths += [FileSystems.join(folder, name) for name in names]
    return paths
