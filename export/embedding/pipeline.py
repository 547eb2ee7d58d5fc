"""The Beam graph of the embedding job: units -> inputs -> vectors -> Parquet files.

    Create(units) | Reshuffle | ReadInputs | one RunInference a signature | StageVectors | GroupByKey(file) | WriteFile

From ReadInputs to StageVectors no runner has a reason to store anything: inputs, megabytes each, go from hand to hand.
Vectors are staged in files, and only references travel through the grouping, as in mmv_tf.beam.pipeline. What cannot be
read is in the report of its unit; what the module refuses travels with the references (no tagged outputs: Beam's Dask
runner mixed them up).

    ((modality, space, shard), ("vector", key, start, end, rank, file, offset))
    ((modality, space, shard), ("rejected", path, name, reason, detail))
"""

import functools
import itertools
import json
import threading
import uuid
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

from mmv_tf.beam import options as run_options
from mmv_tf.beam import storage
from mmv_tf.common import paths
from mmv_tf.common.batches import filled
from mmv_tf.export.embedding import earlier, parquet_file
from mmv_tf.metrics import retrieval
from mmv_tf.records.naming import shard_name, shard_of

REFUSED, NOT_FINITE = "refused_by_module", "not_finite"

_modules, _loading = {}, threading.Lock()


def load_module(folder: str):
    """The SavedModel in `folder`, loaded once a process, however many signatures and threads use it.

    Raises:
      ValueError: the path holds what TensorFlow takes for a pattern, by which it looks for the variables.
    """
    import tensorflow as tf

    with _loading:
        if folder not in _modules:
            _modules[folder] = tf.saved_model.load(paths.plain(folder, "module"))
        return _modules[folder]


class Identity(NamedTuple):
    """Whose vector it is; `rank` is its place among all inputs, by unit and in the unit, the same in every run."""

    key: str
    start: float | None
    end: float | None
    rank: int


class ModuleHandler(ModelHandler):
    """Runs one signature of a module on inputs of one shape.

    Args:
      folder: of the module.
      signature: its name.
      batch_size: inputs at once. Smaller batches are filled up: one shape is one graph, and a vector does not depend on
        how many came along with it.
      side: pixels that Boxed frames are resized to, on an accelerator if there is one.
    """

    def __init__(self, folder: str, signature: str, batch_size: int, side: int = 0):
        super().__init__(min_batch_size=batch_size, max_batch_size=batch_size)
        self._folder, self._signature, self._batch_size, self._side = folder, signature, batch_size, side

    def load_model(self):
        return load_module(self._folder)

    def run_inference(self, batch, model, inference_args=None):
        """Yields {output: float32 [d]} for each input of a batch, or what the module has against it, a str."""
        import tensorflow as tf

        function = model.signatures[self._signature]
        try:
            yield from self._run(function, batch)
        except tf.errors.InvalidArgumentError:
            # The module checks a batch as a whole: one by one tells whose fault it is.
            for value in batch:
                try:
                    yield from self._run(function, [value])
                except tf.errors.InvalidArgumentError as error:
                    yield " ".join(error.message.split())[:200]

    def _run(self, function, values):
        import tensorflow as tf

        from mmv_tf.export.embedding.clip_cutter import Boxed

        values = list(values)
        if isinstance(values[0], Boxed):
            inputs = self._finished(values)
        else:
            rows = np.array(values, object) if isinstance(values[0], bytes) else np.stack(values)
            inputs = tf.constant(filled(rows, self._batch_size))
        if inputs.dtype == tf.uint8:
            inputs = tf.cast(inputs, tf.float32) * (1 / 255)
        outputs = {key: rows.numpy() for key, rows in function(inputs).items() if rows.shape.rank == 2}
        return [{key: rows[i] for key, rows in outputs.items()} for i in range(len(values))]

    def _finished(self, values):
        """Boxed inputs as the signature takes them but for their type: [B,T,H,W,3] or [B,H,W,3] uint8."""
        import tensorflow as tf

        columns = [np.stack(column) for column in zip(*(value.frames for value in values), strict=True)]
        columns.append(np.stack([value.place for value in values]))
        *frames, places = (tf.constant(filled(column, self._batch_size)) for column in columns)
        clips = _finisher(self._side)(frames, places)
        return clips[:, 0] if self._signature == "image" else clips

    def get_num_bytes(self, batch):
        return sum(len(value) if isinstance(value, bytes) else value.nbytes for value in batch)

    def get_metrics_namespace(self):
        return f"mmv_tf_{self._signature}"


@functools.cache
def _finisher(side):
    """What resizes the windows of boxes: one trace for each shape."""
    import tensorflow as tf

    from mmv_tf.inputs.augmentation import boxes

    return tf.function(lambda frames, places: boxes.finished(frames, places, side), autograph=False)


def _name(modality, start):
    return modality if start is None else f"{modality} at {start:g} s"


class ReadInputs(beam.DoFn):
    """Unit -> (modality, Identity, value) of all its inputs; leaves a report of the unit in the staging folder."""

    def __init__(self, reader, settings, modalities, staging, box=None):
        self._reader, self._settings, self._modalities = reader, settings, modalities
        self._staging, self._cutter, self._box = staging, None, box

    def setup(self):
        run_options.begin_worker()
        from mmv_tf.export.embedding.clip_cutter import ClipCutter

        self._cutter = ClipCutter(self._settings, self._modalities, self._box)
        self._reader.open()

    def teardown(self):
        self._reader.close()

    def process(self, element):
        import tensorflow as tf

        from mmv_tf.beam.remarks import Remarks
        from mmv_tf.beam.specs import Rejection
        from mmv_tf.inputs import faults
        from mmv_tf.records.card import Reason

        number, unit = element
        counts, rejections, names = dict.fromkeys(self._modalities, 0), [], []
        rank = itertools.count(number << 32)
        for read in self._reader.read(unit):
            if read.rejection:
                rejections.append(read.rejection)
                continue
            made = 0
            try:
                for item in self._cutter.cut(read.serialized):
                    made += 1
                    if isinstance(item.value, np.ndarray) and not np.isfinite(item.value).all():
                        name = _name(item.modality, item.start)
                        rejections.append(Rejection(item.key, name, NOT_FINITE, "NaN or Inf in it"))
                        continue
                    counts[item.modality] += 1
                    times = (item.start, item.end) if self._reader.has_times else (None, None)
                    yield item.modality, Identity(item.key, *times, next(rank)), item.value
            except tf.errors.OpError as error:
                why = faults.reason(error)
                rejections.append(Rejection(read.path, read.name, Reason.DECODE_ERROR.value, why))
            if made:
                names.append(read.name)
        remarks, self._reader.remarks = self._reader.remarks, Remarks()
        report = {"records": names, "rejections": rejections, "inputs": counts}
        report["remarks"], report["remarked"] = [remarks.numbers, remarks.lines], self._reader.remarked
        self._reader.remarked = {}
        with storage.WholeFile(self._staging, FileSystems.join(self._staging, f"unit-{number}.json")) as file:
            file.write(json.dumps(report).encode())
        for rejection in rejections:
            Metrics.counter("embed", f"rejected:{rejection.reason}").inc()


class StageVectors(beam.DoFn):
    """(Identity, outputs) of one signature -> the vectors in a staged file, one a bundle, and references to them."""

    def __init__(self, modality, spaces, staging, num_shards):
        self._modality, self._spaces = modality, tuple(spaces)
        self._staging, self._num_shards, self._file = staging, num_shards, None

    def start_bundle(self):
        self._file = None

    def process(self, element):
        identity, outputs = element
        shard = shard_of(identity.key, self._num_shards)[0]
        why = (REFUSED, outputs) if isinstance(outputs, str) else None
        if why is None and not all(np.isfinite(outputs[space]).all() for space in self._spaces):
            why = (NOT_FINITE, "the module gives NaN or Inf")
        if why is not None:
            name = _name(self._modality, identity.start)
            yield (self._modality, self._spaces[0], shard), ("rejected", identity.key, name, *why)
            return
        if self._file is None:
            self._name = FileSystems.join(self._staging, f"{uuid.uuid4().hex}.vectors")
            self._file = storage.WholeFile(self._staging, self._name).__enter__()
        for space in self._spaces:
            offset = self._file.size
            self._file.write(np.ascontiguousarray(outputs[space], "<f4").tobytes())
            yield (self._modality, space, shard), ("vector", *identity, self._name, offset)

    def finish_bundle(self):
        if self._file is not None:
            self._file.__exit__(None, None, None)
            self._file = None


class WriteFile(beam.DoFn):
    """((modality, space, shard), references) -> the Parquet file, sorted by key and time, and a report of it.

    An element ("file", sha256 or '', keys) says what of the earlier file stays: all but the rows of these keys, and
    without a checksum nothing.
    """

    def __init__(self, output, staging, num_shards, dims, module, folder):
        self._output, self._staging, self._num_shards = output, staging, num_shards
        self._dims, self._module, self._folder = dims, module, folder

    def process(self, element):
        (modality, space, shard), items = element
        items = list(items)  # references only
        rows = sorted((item[1:] for item in items if item[0] == "vector"), key=_in_time)
        name = file_name(modality, space, shard, self._num_shards)
        vectors = parquet_file.gather([row[4:] for row in rows], self._dims[modality, space])
        identities, new = [row[:3] for row in rows], len(rows)
        ((_, sha256, dropped),) = [item for item in items if item[0] == "file"]
        if sha256:
            before = parquet_file.kept(FileSystems.join(self._output, name), sha256, set(dropped))
            identities, vectors = before[0] + identities, np.concatenate([before[1], vectors])
            order = sorted(range(len(identities)), key=lambda place: identities[place][0])
            identities, vectors = [identities[place] for place in order], vectors[order]
        table = parquet_file.table(modality, space, identities, vectors, self._module)
        with storage.WholeFile(self._staging, earlier.ready(self._staging, name)) as out:
            parquet_file.write(table, out)
        report = {"name": name, "rows": len(identities), "new": new, "sha256": out.sha256, "bytes": out.size}
        report["modality"] = modality
        if modality == "text":
            report["without_known_words"] = self._without_known_words(space, vectors)
        report |= {"space": space, "rejections": [item[1:] for item in items if item[0] == "rejected"]}
        with storage.WholeFile(self._staging, FileSystems.join(self._staging, f"{name}.report")) as file:
            file.write(json.dumps(report).encode())
        yield name

    def _without_known_words(self, space, vectors) -> int:
        """How many rows are the vector of the empty text: of texts without any word that the module knows."""
        import tensorflow as tf

        nothing = load_module(self._folder).signatures["text"](tf.constant([""]))[space].numpy()
        return int(retrieval.same(vectors, nothing).sum())


def _in_time(row):
    key, start, _, rank, _, _ = row
    return key, start or 0.0, rank


def file_name(modality, space, shard, num_shards) -> str:
    """'video-vat-00000-of-00008.parquet'."""
    return shard_name(f"{modality}-{space}", shard, num_shards) + ".parquet"


def _is_of(modality, element):
    return element[0] == modality


def _without_modality(element):
    return element[1:]


def build(
    pipeline, units, reader, settings, handlers, dims, output, staging, num_shards, module, folder, to_write, box=None
):
    """Adds the graph to a pipeline.

    Args:
      to_write: {shard: (names of earlier files with their checksums, keys that they lose)}; see WriteFile. Shards that
        are not in it stay as they are.
      units: see embed_inputs; reader reads them.
      settings: ClipSettings of the module.
      handlers: {modality: ModuleHandler}.
      dims: {(modality, space): d} of what is written.
      module: its checksum, for the rows.
      folder: of the module.
      box: see ClipCutter.
    """
    inputs = (
        pipeline
        | "Units" >> beam.Create(list(enumerate(units)))
        | "BreakFusion" >> beam.Reshuffle()
        | "ReadInputs" >> beam.ParDo(ReadInputs(reader, settings, tuple(handlers), staging, box))
    )
    staged = []
    for modality, handler in handlers.items():
        spaces = [space for of, space in dims if of == modality]
        staged.append(
            inputs
            | f"Only {modality}" >> beam.Filter(functools.partial(_is_of, modality))
            | f"Keyed {modality}" >> beam.Map(_without_modality)
            | f"RunInference {modality}" >> RunInference(KeyedModelHandler(handler))
            | f"Stage {modality}" >> beam.ParDo(StageVectors(modality, spaces, staging, num_shards))
        )
    # Every file gets written, also one without rows: the names state how many there are.
    empty = []
    for modality, space in dims:
        for shard, (checksums, dropped) in to_write.items():
            name = file_name(modality, space, shard, num_shards)
            empty.append(((modality, space, shard), ("file", checksums.get(name, ""), tuple(dropped))))
    return (
        (*staged, pipeline | "Files" >> beam.Create(empty))
        | "Join" >> beam.Flatten()
        | "GroupByFile" >> beam.GroupByKey()
        | "WriteFile" >> beam.ParDo(WriteFile(output, staging, num_shards, dims, module, folder))
    )
