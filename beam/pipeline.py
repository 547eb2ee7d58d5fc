"""The Beam graph: sources -> staged clips -> shards.

    Create(sources) | Reshuffle | DecodeSource | GroupByKey(shard) | WriteShard

The clips of a source are staged in one file, and only references to them travel through the grouping, so no runner
ever holds the frames of a shard in memory, and a run that was killed finds the sources that it finished. Accepted and
rejected clips travel in ONE stream (Beam's Dask runner mixed up tagged outputs), told apart by their first field:

    (shard, ("record", rank, file, offset, length))    one accepted clip in a staged file
    (shard, ("report", json))                          one source: its clips planned, its rejections, its counters
"""

import collections
import itertools
import json
import os

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from mmv_tf import records
from mmv_tf.beam import captions as captions_lib
from mmv_tf.beam import manifest, shards
from mmv_tf.beam.decode_client import DecodeClient, Failure
from mmv_tf.beam.specs import Reason, Rejection, clip_key, shard_of

# What a second run may do better: these rejections are not taken over from a run that was killed.
_RETRIED = {Reason.TIMEOUT.value, Reason.CRASH.value, Reason.OUT_OF_MEMORY.value, Reason.MISSING_FILE.value}


def staging_folder(output, split):
    """Where a run keeps what it is not done with; hidden, so that no pattern for shards finds it."""
    return FileSystems.join(output, f".staging-{split}")


class DecodeSource(beam.DoFn):
    """Source -> its clips, staged in a file, and references to them. The decoding happens in a child process."""

    def __init__(self, root, staging, settings, label_map, num_shards):
        self._root, self._staging, self._settings = root, staging, settings
        self._label_map, self._num_shards = label_map, num_shards
        self._client = None

    def setup(self):
        self._client = DecodeClient(self._settings)

    def teardown(self):
        if self._client is not None:
            self._client.close()

    def process(self, source):
        index = self._staged(source)
        for rank, shard, offset, length in index["records"]:
            yield shard, ("record", rank, index["file"], offset, length)
        report = {name: index[name] for name in ("path", "planned", "rejections", "counters")}
        yield shard_of(source.path, self._num_shards)[0], ("report", json.dumps(report))
        Metrics.counter("preprocess", "accepted").inc(len(index["records"]))
        for rejection in index["rejections"]:
            Metrics.counter("preprocess", f"rejected:{rejection[2]}").inc()

    def _staged(self, source):
        """The index of the staged file of a source: taken over from an earlier run, or made now."""
        file, why = manifest.confine(self._root, source.path)
        size = None
        if file:
            status = os.stat(file)
            size = (status.st_size, status.st_mtime_ns)
        labels = sorted({(label, self._label_map[label]) for clip in source.clips for label in clip.labels})
        digest = self._settings.fingerprint(source, size, labels, self._num_shards)
        name = FileSystems.join(self._staging, digest)
        if FileSystems.exists(name + ".json"):
            with FileSystems.open(name + ".json") as stream:
                index = json.loads(stream.read())
            if not any(rejection[2] in _RETRIED for rejection in index["rejections"]):
                return index
        index = {"path": source.path, "file": name + ".tfrecord", "records": [], "rejections": [], "planned": 0}
        index["counters"] = collections.Counter()
        with shards.WholeFile(self._staging, index["file"]) as out:
            if why is None and size[0] > self._settings.max_file_bytes:
                why = (Reason.TOO_LARGE, f"{size[0]} bytes, over {self._settings.max_file_bytes}")
            if why is None:
                self._decode(source, file, index, out)
            else:
                self._reject(index, source, [clip[:2] for clip in source.clips], *why)
                index["planned"] = len(source.clips)
        with shards.WholeFile(self._staging, name + ".json") as stream:
            stream.write(json.dumps(index).encode())
        return index

    def _reject(self, index, source, spans, reason, detail):
        for start, end in spans:
            key = clip_key(source.path, start, end)
            index["rejections"].append(Rejection(source.path, key, reason.value, detail))

    def _decode(self, source, file, index, out):
        # Until there is a plan, the pieces are the clips as they were asked for.
        pieces = dict(enumerate((n, *clip[:2]) for n, clip in enumerate(source.clips)))
        index["planned"] = len(pieces)
        try:
            for header, blobs in self._client.ask(file, [clip[:2] for clip in source.clips]):
                if "plan" in header:
                    pieces = {number: tuple(piece) for number, piece in enumerate(header["plan"])}
                    index["planned"] = len(pieces)
                    if header["truncated"]:
                        index["planned"] += 1
                        what = "the header states a longer source than there is data"
                        self._reject(index, source, [header["truncated"]], Reason.TRUNCATED, what)
                    continue
                clip, start, end = pieces.pop(header["piece"])
                if "reason" in header:
                    self._reject(index, source, [(start, end)], Reason(header["reason"]), header["detail"])
                    continue
                record = self._record(source, source.clips[clip], start, end, header, blobs)
                frame = shards.framed(records.encode(record))
                shard, rank = shard_of(record.key, self._num_shards)
                index["records"].append((rank, shard, out.size, len(frame)))
                out.write(frame)
                index["counters"].update(_counters(record))
        except Failure as failure:
            self._reject(index, source, [piece[1:] for piece in pieces.values()], failure.reason, str(failure))

    def _record(self, source, spec, start, wanted_end, header, blobs):
        settings, frames = self._settings, header["frames"]
        # Whatever the child says, it has worked on a hostile file: sizes are checked by numpy and by the schema.
        waveform = np.frombuffer(blobs[frames], "<f4") if len(blobs) > frames else None
        end = float(header["end"])
        return records.Record(
            key=clip_key(source.path, start, wanted_end),
            video_path=source.path,
            start=start,
            end=end,
            jpegs=tuple(blobs[:frames]),
            frame_rate=settings.frame_rate,
            height=int(header["height"]),
            width=int(header["width"]),
            waveform=waveform,
            sample_rate=settings.sample_rate,
            captions=captions_lib.nearest(spec.captions, start, end, settings.max_captions, settings.max_caption_gap),
            labels=tuple((self._label_map[label], label) for label in spec.labels),
        )


def _counters(record):
    """What a record has: counted for the summary."""
    sound = record.waveform is not None
    return {
        "with_video": int(bool(record.jpegs)),
        "with_sound": int(sound),
        "silent": int(sound and not record.waveform.any()),  # a sound track of digital silence
        "with_captions": int(bool(record.captions)),
        "with_labels": int(bool(record.labels)),
        "frames": len(record.jpegs),
        "milliseconds": round((record.end - record.start) * 1000),
    }


class WriteShard(beam.DoFn):
    """(shard, references and reports) -> the shard, in the order of the ranks, and a report of it in the staging."""

    def __init__(self, output, staging, split, num_shards):
        self._output, self._staging = output, staging
        self._split, self._num_shards = split, num_shards

    def process(self, element):
        shard, items = element
        items = list(items)  # references only
        name = shards.shard_name(self._split, shard, self._num_shards)
        references = sorted(item[1:] for item in items if item[0] == "record")
        with shards.WholeFile(self._staging, FileSystems.join(self._output, name)) as out:
            for _, file, offset, length in references:
                frame = shards.read_range(file, offset, length)
                if not shards.check_framed(frame):
                    raise OSError(
                        f"{file}: the staged record at byte {offset} is damaged; delete the file and run again"
                    )
                out.write(frame)
        report = {
            "name": name,
            "records": len(references),
            "bytes": out.size,
            "sha256": out.sha256,
            "sources": [json.loads(item[1]) for item in items if item[0] == "report"],
        }
        with shards.WholeFile(self._staging, FileSystems.join(self._staging, f"{name}.report")) as stream:
            stream.write(json.dumps(report).encode())
        yield name


def build(pipeline, sources, root, output, split, settings, label_map, num_shards):
    """Adds the graph to a pipeline. After the run, read_reports() gives what happened."""
    staging = staging_folder(output, split)
    decoded = (
        pipeline
        | "Sources" >> beam.Create(sources)
        | "BreakFusion" >> beam.Reshuffle()
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
    """The reports of all shards of a finished run, in order. Raises ValueError for a missing one."""
    reports = []
    for index in range(num_shards):
        name = shards.shard_name(split, index, num_shards)
        path = FileSystems.join(staging_folder(output, split), f"{name}.report")
        if not FileSystems.exists(path):
            raise ValueError(f"{path}: not found, though the run ended: shard {name} was not written; run again")
        with FileSystems.open(path) as stream:
            reports.append(json.loads(stream.read()))
    return reports


def summarize(reports, rejections):
    """Counts of a run, and its dead letters.

    Args:
      reports: of the shards, from read_reports().
      rejections: list of Rejection made before the pipeline.
    Returns:
      (counters, dead letters sorted, paths of the sources with at least one record).
    Raises:
      AssertionError: accepted + rejected differs from what was read.
    """
    sources = list(itertools.chain.from_iterable(report["sources"] for report in reports))
    dead = [Rejection(*rejection) for source in sources for rejection in source["rejections"]] + list(rejections)
    counters = collections.Counter()
    for source in sources:
        counters.update(source["counters"])
    accepted = sum(report["records"] for report in reports)
    read = sum(source["planned"] for source in sources) + len(rejections)
    reasons = collections.Counter(rejection.reason for rejection in dead)
    assert accepted + len(dead) == read, f"{accepted} accepted + {len(dead)} rejected clips, but {read} read"
    totals = {"read": read, "accepted": accepted, "rejected": len(dead), "reasons": dict(sorted(reasons.items()))}
    used = {source["path"] for source in sources if source["counters"]}
    return totals | dict(sorted(counters.items())), sorted(dead), used
