"""The Beam graph: files of sources -> references to sources -> staged clips -> shards.

    Create(files) | ReadSources | Reshuffle | DecodeSource | GroupByKey(shard) | WriteShard

The clips of a source are staged in one file, and only references to them travel through the grouping, so no runner
ever holds the frames of a shard in memory, and a run that was killed finds the sources that it finished. Accepted and
rejected clips travel in ONE stream (Beam's Dask runner mixed up tagged outputs), told apart by their first field:

    (shard, ("record", rank, file, offset, length))    one accepted clip in a staged file
    (shard, ("report", json))                          one source: its clips planned, its rejections, its counters
"""

import collections
import hashlib
import json

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from mmv_tf.beam import spool, storage
from mmv_tf.beam.decoding.decode_source import DecodeSource
from mmv_tf.beam.remarks import Remarks
from mmv_tf.records.naming import shard_name
from mmv_tf.records.tfrecord import check_framed


def staging_folder(output, split):
    """Where a run keeps what it is not done with; hidden, so that no pattern for shards finds it."""
    return FileSystems.join(output, f".staging-{split}")


class WriteShard(beam.DoFn):
    """(shard, references and reports) -> the shard, in the order of the ranks, and a report of it in the staging."""

    def __init__(self, output, staging, split, num_shards):
        self._output, self._staging = output, staging
        self._split, self._num_shards = split, num_shards

    def process(self, element):
        shard, items = element
        items = list(items)  # references only
        name = shard_name(self._split, shard, self._num_shards)
        references = sorted(item[1:] for item in items if item[0] == "record")
        for before, after in zip(references, references[1:], strict=False):
            if before[0] == after[0]:
                raise ValueError(f"{name}: two clips of the same key, in {before[1]} and {after[1]}: a path came twice")
        report = {"name": name, "records": len(references)}
        report["references"] = hashlib.sha256(json.dumps(references).encode()).hexdigest()
        report |= self._written(name, report["references"]) or self._write(name, references)
        report |= _sum([json.loads(item[1]) for item in items if item[0] == "report"])
        with storage.WholeFile(self._staging, self._report(name)) as stream:
            stream.write(json.dumps(report).encode())
        yield name

    def _report(self, name):
        return FileSystems.join(self._staging, f"{name}.report")

    def _written(self, name, digest):
        """Size and checksum of the shard if an earlier run has written it from the same references, else None."""
        if not FileSystems.exists(self._report(name)):
            return None
        report = json.loads(storage.read_text(self._report(name)))
        size = storage.size(FileSystems.join(self._output, name))
        if report["references"] == digest and report["bytes"] == size:
            return {"bytes": size, "sha256": report["sha256"]}
        storage.delete(self._report(name))  # before there is a shard that it does not speak of
        return None

    def _write(self, name, references):
        with storage.WholeFile(self._staging, FileSystems.join(self._output, name)) as out:
            for _, file, offset, length in references:
                frame = storage.read_range(file, offset, length)
                if not check_framed(frame):
                    raise OSError(
                        f"{file}: the staged record at byte {offset} is damaged; delete the file and run again"
                    )
                out.write(frame)
        return {"bytes": out.size, "sha256": out.sha256}


def _sum(reports):
    """The reports of sources as one."""
    counters, words, remarks = collections.Counter(), collections.Counter(), Remarks()
    for report in reports:
        remarks.take(*report["remarks"])
        counters.update(report["counters"])
        words.update(report["words"])
    return {
        "sources": len(reports),
        "planned": sum(report["planned"] for report in reports),
        "rejections": [rejection for report in reports for rejection in report["rejections"]],
        "counters": counters,
        "words": words,
        "remarks": [remarks.numbers, sorted(remarks.lines)],
    }


def build(pipeline, files, root, output, split, settings, label_map, num_shards):
    """Adds the graph to a pipeline. After the run, read_reports() gives what happened.

    Args:
      files: of sources, from spool.write().
      root: that the paths of the sources are relative to.
      label_map: label -> id.
    """
    staging = staging_folder(output, split)
    decoded = (
        pipeline
        | "Files" >> beam.Create(files)  # reshuffles by itself
        | "ReadSources" >> beam.FlatMap(spool.references)
        | "SpreadSources" >> beam.Reshuffle()
        | "DecodeSource" >> beam.ParDo(DecodeSource(root, staging, settings, label_map, num_shards))
    )
    # Every shard gets written, also one without records: the names state how many there are.
    empty = pipeline | "Shards" >> beam.Create([(shard, ("shard",)) for shard in range(num_shards)])
    return (
        (decoded, empty)
        | "Join" >> beam.Flatten()
        | "GroupByShard" >> beam.GroupByKey()
        | "WriteShard" >> beam.ParDo(WriteShard(output, staging, split, num_shards))
    )


def read_reports(output, split, num_shards):
    """Yields the reports of all shards of a finished run, in order. Raises ValueError for a missing one."""
    for index in range(num_shards):
        name = shard_name(split, index, num_shards)
        path = FileSystems.join(staging_folder(output, split), f"{name}.report")
        try:
            yield json.loads(storage.read_text(path))
        except FileNotFoundError:
            raise ValueError(
                f"{path}: not found, though the run ended: shard {name} was not written; run again"
            ) from None
