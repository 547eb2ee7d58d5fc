"""The DoFn that decodes: a source in, its clips staged in a file and references to them out."""

import collections
import functools
import json
import tempfile
import uuid

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from mmv_tf.beam import options as run_options
from mmv_tf.beam import spool, storage
from mmv_tf.beam.captions.nearest import CaptionIndex
from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.decoding.image_worker import ImageClient
from mmv_tf.beam.remarks import Remarks
from mmv_tf.beam.sources import source_files
from mmv_tf.beam.specs import ClipSpec, Rejection, joined
from mmv_tf.records import schema, vocabulary
from mmv_tf.records.card import OF_THE_MOMENT, Reason, Remark
from mmv_tf.records.naming import clip_key, shard_of
from mmv_tf.records.tfrecord import framed

# Source.kind -> who decodes it. A source of the kind "tfds" is a file of many pictures.
KINDS = {"video": DecodeClient, "image": ImageClient, "tfds": ImageClient}


class DecodeSource(beam.DoFn):
    """A reference to a source (see spool.py) -> elements as pipeline.py states them.

    The decoding happens in a child process. Two attempts at one source, as a runner may make, do not meet: each stages
    in a file of its own.

    Args:
      root: folder or URL that the paths of the sources are relative to.
      staging: folder for what is staged.
      label_map: label -> id.
    """

    def __init__(self, root, staging, settings, label_map, num_shards):
        self._root, self._staging, self._settings = root, staging, settings
        self._label_map, self._num_shards = label_map, num_shards
        self._clients = {}

    def setup(self):
        run_options.begin_worker()

    def teardown(self):
        for client in self._clients.values():
            client.close()

    def process(self, reference):
        source = spool.read(*reference)
        index = self._staged(source)
        for rank, shard, offset, length in index["records"]:
            yield shard, ("record", rank, index["file"], offset, length)
        report = {name: index[name] for name in ("planned", "rejections", "counters", "words", "remarks")}
        yield shard_of(source.path, self._num_shards)[0], ("report", json.dumps(report))
        Metrics.counter("preprocess", "accepted").inc(len(index["records"]))
        for rejection in index["rejections"]:
            Metrics.counter("preprocess", f"rejected:{rejection[2]}").inc()

    def _staged(self, source):
        """The index of the staged file of a source: taken over from an earlier run, or made now."""
        try:
            with source_files.opened(self._root, source.path, self._settings.max_file_bytes) as found:
                return self._staged_as(source, found, None)
        except source_files.Refused as error:
            return self._staged_as(source, None, error)

    def _staged_as(self, source, found, refused):
        wanted = {label for clip in source.clips for label in clip.labels}
        # Which labels a file of pictures has is not known before it is read.
        labels = sorted((label, n) for label, n in self._label_map.items() if label in wanted or source.kind == "tfds")
        version = found and found[1:]
        name = FileSystems.join(self._staging, self._settings.fingerprint(source, version, labels, self._num_shards))
        if FileSystems.exists(name + ".json"):
            index = json.loads(storage.read_text(name + ".json"))
            # A run that was killed while it deleted its staging may have left the one file without the other.
            whole = storage.size(index["file"]) == index["bytes"]
            # Nor is what a second run may do better taken over.
            if whole and not any(rejection[2] in OF_THE_MOMENT for rejection in index["rejections"]):
                return index
        file = f"{name}-{uuid.uuid4().hex}.tfrecord"
        with storage.WholeFile(self._staging, file) as out:
            stage = _Stage(source, file, out, self._settings, self._label_map, self._num_shards)
            try:
                if refused:
                    raise refused
                with source_files.local(found, self._settings.max_file_bytes) as path:
                    self._decode(source, path, stage)
            except source_files.Refused as error:
                stage.refuse(error.reason, str(error))
        index = stage.index()
        with storage.WholeFile(self._staging, name + ".json") as stream:
            stream.write(json.dumps(index).encode())
        return index

    def _client(self, kind):
        if kind not in self._clients:
            self._clients[kind] = KINDS[kind](self._settings)
        return self._clients[kind]

    def _decode(self, source, path, stage):
        client = self._client(source.kind)
        if source.kind != "tfds":
            stage.ask(client, path, source.clips, functools.partial(clip_key, source.path))
            return
        from mmv_tf.beam.datasets import imagenet

        try:
            for name, data, labels in imagenet.images(path, FileSystems.join(self._root, source.path)):
                with tempfile.NamedTemporaryFile() as picture:
                    picture.write(data)
                    picture.flush()
                    stage.ask_picture(client, picture.name, name, labels)
        except ValueError as error:  # what follows the damage cannot be found
            stage.reject("", Reason.DECODE_ERROR, str(error)[:200])


class _Stage:
    """What becomes of one source while it is decoded: its records in `out`, its rejections and counters."""

    def __init__(self, source, file, out, settings, label_map, num_shards):
        self._source, self._file, self._out, self._settings = source, file, out, settings
        self._label_map, self._num_shards = label_map, num_shards
        self._planned, self._records, self._rejections = 0, [], []
        self._keys, self._counters, self.remarks = set(), collections.Counter(), Remarks()
        self._captions = None, None  # a ClipSpec and its CaptionIndex

    def reject(self, key, reason, detail):
        """Adds a rejection of something that was not planned."""
        self._planned += 1
        self._lose(key, reason, detail)

    def _lose(self, key, reason, detail):
        self._rejections.append(Rejection(self._source.path, key, reason.value, detail))

    def refuse(self, reason, detail):
        """Rejects all that was wanted from the source, or the source when nobody knows what is in it."""
        if not self._source.clips:
            self.reject("", reason, detail)
        for clip in self._source.clips:
            self.reject(clip_key(self._source.path, *clip[:2]), reason, detail)

    def ask_picture(self, client, path, name, labels):
        """One picture of a file of many."""
        key = f"{self._source.path}:{name}"
        if key in self._keys:
            self.reject(key, Reason.BAD_ROW, "a second picture of this name")
        elif unknown := [label for label in labels if label not in self._label_map]:
            self.reject(key, Reason.BAD_ROW, f"no label of this dataset: {unknown[0]!r}"[:200])
        else:
            self._keys.add(key)
            self.ask(client, path, (ClipSpec(labels=tuple(labels)),), lambda start, end: key)

    def ask(self, client, path, clips, key_of):
        """Has clips of a file decoded.

        Args:
          client: a DecodeClient.
          key_of: function of the start and the end that were asked for.
        """
        # Until there is a plan, the pieces are the clips as they were asked for.
        pieces = dict(enumerate(((n,), *clip[:2]) for n, clip in enumerate(clips)))

        @functools.cache
        def spec_of(*indices):  # a piece of a whole source may be a clip that is wanted for itself
            return joined([clips[n] for n in indices]) if len(indices) > 1 else clips[indices[0]]

        self._planned += len(pieces)
        try:
            for header, blobs in client.ask(path, [clip[:2] for clip in clips]):
                if "plan" in header:
                    self._planned += len(header["plan"]) - len(pieces)
                    pieces = {number: tuple(piece) for number, piece in enumerate(header["plan"])}
                    if header["truncated"]:
                        what = "the header states a longer source than there is data"
                        self.reject(key_of(*header["truncated"]), Reason.TRUNCATED, what)
                    continue
                self._remark(header)
                indices, start, end = pieces.pop(header["piece"])
                if "reason" in header:
                    self._lose(key_of(start, end), Reason(header["reason"]), header["detail"])
                else:
                    self._accept(spec_of(*indices), key_of(start, end), start, header, blobs)
        except Failure as failure:
            for _, start, end in pieces.values():
                self._lose(key_of(start, end), failure.reason, str(failure))

    def _remark(self, header):
        for reason, detail, number in header.get("remarks", ()):
            self.remarks.add(Remark(reason), str(detail)[:200], int(number), self._source.path)

    def _accept(self, spec, key, start, header, blobs):
        if self._out.size > self._settings.max_records_bytes:
            what = f"over {self._settings.max_records_bytes >> 30} GiB of records of this source"
            self._lose(key, Reason.TOO_LARGE, what)
            return
        record = self._record(spec, key, start, header, blobs)
        frame = framed(schema.encode(record))
        shard, rank = shard_of(key, self._num_shards)
        self._records.append((rank, shard, self._out.size, len(frame)))
        self._out.write(frame)
        self._counters.update(_counters(record, header))
        if header.get("sound_failed"):
            self.remarks.add(Remark.SOUND_FAILED, f"from {start:g} s", path=self._source.path)

    def _record(self, spec, key, start, header, blobs):
        settings, frames, end = self._settings, header["frames"], float(header["end"])
        # Whatever the child says, it has worked on a hostile file: sizes are checked by numpy and by the schema.
        return schema.Record(
            key=key,
            video_path=self._source.path,
            start=start,
            end=end,
            jpegs=tuple(blobs[:frames]),
            frame_rate=settings.frame_rate,
            height=int(header["height"]),
            width=int(header["width"]),
            waveform=np.frombuffer(blobs[frames], "<f4") if len(blobs) > frames else None,
            sample_rate=settings.sample_rate,
            captions=self._index_of(spec).nearest(start, end, settings.max_captions, settings.max_caption_gap, key),
            labels=tuple((self._label_map[label], label) for label in spec.labels),
        )

    def _index_of(self, spec):
        if self._captions[0] is not spec:  # the pieces of a source that is wanted whole come in turn
            self._captions = spec, CaptionIndex(spec.captions)
        return self._captions[1]

    def index(self):
        """What is known of the staged file: JSON."""
        words = collections.Counter()
        if self._records:  # words that no clip stands for teach nothing
            for caption in {caption for clip in self._source.clips for caption in clip.captions}:
                words.update(vocabulary.words(caption.text))
        return {
            "file": self._file,
            "bytes": self._out.size,
            "records": self._records,
            "planned": self._planned,
            "rejections": self._rejections,
            "counters": self._counters,
            "words": words,
            "remarks": [self.remarks.numbers, self.remarks.lines],
        }


def _counters(record, header):
    """What a record has: counted for the summary."""
    sound = record.waveform is not None
    return {
        "with_video": int(bool(record.jpegs)),
        "with_sound": int(sound),
        "silent": int(sound and not record.waveform.any()),  # a sound track of digital silence
        "sound_failed": int(bool(header.get("sound_failed"))),  # kept for its pictures
        "with_captions": int(bool(record.captions)),
        "with_labels": int(bool(record.labels)),
        "frames": len(record.jpegs),
        "milliseconds": round((record.end - record.start) * 1000),
    }
