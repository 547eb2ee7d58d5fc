"""One run of the embedding job around its pipeline: staging, progress, counts, embeddings.json and dead letters."""

import collections
import contextlib
import dataclasses
import json
import os
import time
from typing import NamedTuple

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

import mmv_tf
from mmv_tf.beam import options as run_options
from mmv_tf.beam import storage
from mmv_tf.beam.decoding.client import DecodeClient
from mmv_tf.beam.decoding.image_worker import ImageClient
from mmv_tf.beam.progress import Progress
from mmv_tf.beam.remarks import Remarks
from mmv_tf.beam.specs import Rejection
from mmv_tf.export import module_files
from mmv_tf.export.embedding import earlier, inputs
from mmv_tf.export.embedding import pipeline as embed_pipeline
from mmv_tf.records.card import DEAD_LETTERS
from mmv_tf.records.naming import parse_shard_name, shard_of

_SIGNATURES = ("video", "image", "audio", "text")


@dataclasses.dataclass(frozen=True)
class Job:
    """What to embed: `source` is a glob of records or a folder; `dims` {(signature, space): d} what to write."""

    kind: str
    source: str
    module: str
    output: str
    dims: dict[tuple[str, str], int]
    batch_size: int
    num_shards: int
    limits: dict

    @property
    def signatures(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.dims))


def run(job: Job, options) -> int:
    """Runs a job with Beam's PipelineOptions; 0, or 1 when not a single vector was written."""
    settings = clip_settings(job)
    remarks = Remarks()
    checksum = module_files.checksum(job.module)
    staging = FileSystems.join(job.output, ".staging")
    storage.make_folder(job.output)
    if earlier.finish(job.output, staging):
        print(f"{job.output}: an earlier run was done, and is in its place now", flush=True)
    _remove(staging)  # of one that was not
    found = _sources(job, settings, remarks)
    box, who = _finishing(job, settings)
    made_with = _made_with(job, checksum) | ({"form of the frames": f"boxes of {box[0]} x {box[1]}"} if box else {})
    kept = earlier.kept(job.output, made_with, found.marks, in_parts=job.kind != "records")
    units, to_write = _work(job, found, kept)
    print(_plan(job, found, kept), *who, sep="\n", flush=True)
    storage.make_folder(staging)
    handlers = {
        name: embed_pipeline.ModuleHandler(job.module, name, job.batch_size, settings.crop_size)
        for name in job.signatures
    }
    began = time.monotonic()
    if units or to_write:
        with Progress(staging, len(units)):
            with run_options.pipeline(options, job.output) as pipeline:
                embed_pipeline.build(
                    *(pipeline, units, found.reader, settings, handlers, job.dims, job.output, staging),
                    *(job.num_shards, checksum, job.module, to_write, box),
                )
    seconds = time.monotonic() - began
    read = [_load(FileSystems.join(staging, f"unit-{number}.json")) for number in range(len(units))]
    files = [_report(job, staging, kept, *one) for one in _files(job)]
    dead = [Rejection(*one) for report in (*read, *files) for one in report["rejections"]]
    dead = sorted(found.rejections + list(kept.rejections) + dead)
    for report in read:
        remarks.take(*report["remarks"])
    remarks.take(earlier.added(kept.remarked.values()), kept.lines)
    counts = _checked_counts(job, read, files)
    unknown = kept.unknown if kept.marks and not units else _texts_without_known_words(job, files)
    lines = "".join(
        json.dumps(rejection._asdict(), ensure_ascii=False) + "\n" for rejection in [*dead, *sorted(remarks.lines)]
    )
    remarked = kept.remarked | {path: one for report in read for path, one in report["remarked"].items()}
    summary = {
        "module": {"folder": job.module, "sha256": checksum},
        "source": {job.kind: job.source},
        "similarity": "cosine",
        "clips": {name: value for name, value in dataclasses.asdict(settings).items() if name != "audio"},
        "spaces": [{"signature": m, "space": s, "dim": d, "rows": counts[m, s]} for (m, s), d in job.dims.items()],
        "files": {report["name"]: {key: report[key] for key in ("rows", "bytes", "sha256")} for report in files},
        **({} if unknown is None else {"texts_without_known_words": unknown}),
        "dead_letters": dict(sorted(collections.Counter(rejection.reason for rejection in dead).items())),
        "remarks": dict(sorted(remarks.numbers.items())),
        "versions": {"mmv_tf": mmv_tf.__version__, "apache-beam": beam.__version__},
        "made_with": made_with,
    }
    texts = {
        DEAD_LETTERS: lines,
        earlier.SOURCES: earlier.source_lines(found.marks, remarked),
        earlier.SUMMARY: json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
    }
    for name, text in texts.items():
        _write(staging, earlier.ready(staging, name), text)
    names = [report["name"] for report in files if "new" in report]
    earlier.commit(job.output, staging, [*names, *texts], _other_files(job))
    _remove(staging)
    print(_in_words(job, counts, sum(report.get("new", 0) for report in files), dead, seconds, unknown))
    for line in remarks.summary():
        print(f"  {line}")
    return 0 if sum(counts.values()) else 1


class _Sources(NamedTuple):
    """What there is to embed: `paths` of files (of records: none), all units, the reader, what is rejected already."""

    paths: list[str]
    units: list
    reader: object
    rejections: list
    marks: dict


def _made_with(job, checksum):
    """All that a vector depends on but its source, by names that a person knows."""
    source = job.source if "://" in job.source else os.path.abspath(job.source)
    return {
        "module": checksum,
        "source": [job.kind, source],
        "choice of signatures and spaces": [list(key) for key in job.dims],
        "--num_shards": job.num_shards,
        "version of mmv_tf": mmv_tf.__version__,
    }


def _work(job, found, kept):
    """(units to read, {shard: what WriteFile needs to know}) of what does not stay."""
    checksums = {name: about["sha256"] for name, about in kept.files.items()}
    if job.kind == "records":
        if kept.marks:
            return [], {}
        return found.units, {shard: ({}, ()) for shard in range(job.num_shards)}
    fresh = [path for path in found.paths if path not in kept.marks]
    shards = {} if checksums else {shard: ({}, []) for shard in range(job.num_shards)}
    for path in {*fresh, *kept.gone}:
        dropped = shards.setdefault(shard_of(path, job.num_shards)[0], (checksums, []))[1]
        if path in kept.gone:
            dropped.append(path)
    number = inputs.IMAGES_A_UNIT if job.kind == "images" else 1
    return inputs.units_of(fresh, number), shards


def _plan(job, found, kept):
    """A line that says what is embedded and what stays."""
    if job.kind == "records":
        stays = "they are as they were: nothing is embedded" if kept.marks else "embedded anew"
        return f"{job.output}: records of {len(found.marks)} shards; {kept.why + '; ' if kept.why else ''}{stays}"
    changed, gone = kept.changed, len(kept.gone) - kept.changed
    new = len(found.paths) - len(kept.marks) - changed
    why = f" ({kept.why}: all anew)" if kept.why else ""
    return f"{job.output}: {new} new files, {changed} changed, {gone} gone, {len(kept.marks)} as they were{why}"


def _report(job, staging, kept, modality, space, name):
    """The report of a file that was written, or one of an earlier run that stays."""
    path = FileSystems.join(staging, f"{name}.report")
    if FileSystems.exists(path):
        return _load(path)
    return kept.files[name] | {"name": name, "modality": modality, "space": space, "rejections": []}


def _finishing(job, settings):
    """(the box in which frames go to an accelerator or None, a line about it if there are frames to embed).

    After `clip_settings`, which parses the configuration. The machine that starts the job is asked for an accelerator:
    so all vectors of a job are of one form.
    """
    if not {"video", "image"} & set(job.signatures):
        return None, []
    import tensorflow as tf

    from mmv_tf.inputs import pipeline, shards

    setting, box = pipeline.finish_on(), None
    does = pipeline.is_finished_there(setting, any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU")))
    who = f"{pipeline.WHO_DOES_WHAT[does]} (InputPipeline.finish_on = '{setting}')"
    if does and job.kind != "records":
        # Videos and pictures come from their decoder in the size that clips are cut from.
        who = f"{pipeline.WHO_DOES_WHAT[False]}, which decodes frames no larger than clips want them"
    elif does:
        for gpu in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # it is in use already
                tf.config.experimental.set_memory_growth(gpu, True)  # or nothing is left for processes that work
        box = settings.box_for(shards.frame_sizes(shards.find(job.source)))
    return box, [f"input: {who}"]


def clip_settings(job):
    """The ClipSettings that the module of a job was trained with. Parses its configuration."""
    from mmv_tf.export.embedding.clip_cutter import ClipSettings

    module_files.parse_config(job.module)
    settings = ClipSettings.from_gin(has_audio="audio" in job.signatures)
    if job.kind == "images" and job.signatures == ["image"]:
        settings = dataclasses.replace(settings, num_frames=1)  # one picture need not be decoded for every frame
    return settings


def _sources(job, settings, remarks):
    if job.kind == "records":
        units, rejections = inputs.record_units(job.source)
        marks = {shard: earlier.mark(shard) for shard in sorted({unit[0] for unit in units})}
        return _Sources([], units, inputs.RecordReader(), rejections, marks)
    decoding = settings.decoding(**job.limits)
    if job.kind == "images":
        paths, rejections = inputs.image_paths(job.source, remarks)
        reader = inputs.FileReader(job.source, decoding, ImageClient, has_times=False)
    else:
        paths, rejections = inputs.video_paths(job.source, remarks)
        reader = inputs.FileReader(job.source, decoding, DecodeClient)
    marks = {path: earlier.mark(os.path.join(job.source, path)) for path in paths}
    return _Sources(paths, [], reader, rejections, marks)


def _files(job):
    """[(modality, space, name of a file)] of all that a run leaves."""
    return [
        (modality, space, embed_pipeline.file_name(modality, space, shard, job.num_shards))
        for modality, space in job.dims
        for shard in range(job.num_shards)
    ]


def _checked_counts(job, read, files):
    """{(signature, space): rows}. AssertionError: vectors and refusals are not as many as inputs."""
    counts = collections.Counter({space: 0 for space in job.dims})
    new, refused = collections.Counter({space: 0 for space in job.dims}), collections.Counter()
    for report in files:
        counts[report["modality"], report["space"]] += report["rows"]
        new[report["modality"], report["space"]] += report.get("new", 0)
        refused[report["modality"]] += len(report["rejections"])
    for (modality, space), rows in new.items():
        made = sum(report["inputs"][modality] for report in read)
        told = f"{made} inputs of {modality}, but {rows} vectors in {space} and {refused[modality]} refused"
        assert rows + refused[modality] == made, told
    return counts


def _other_files(job):
    """Files of an earlier run with other signatures or another --num_shards: a reader with a pattern would mix them."""
    mine, others = {name for _, _, name in _files(job)}, []
    for name in storage.names(job.output):
        parts = parse_shard_name(name) if name.endswith(".parquet") else None
        if name not in mine and parts and parts.split.partition("-")[0] in _SIGNATURES:
            others.append(name)
    return others


def _remove(folder):
    """Removes a folder of files if it is there; in a bucket it is only what its files are called."""
    if FileSystems.exists(folder) or (storage.is_remote(folder) and storage.names(folder)):
        storage.delete_folder(folder)


def _load(path):
    with FileSystems.open(path) as file:
        return json.loads(file.read())


def _write(staging, path, text):
    with storage.WholeFile(staging, path) as file:
        file.write(text.encode())


def _texts_without_known_words(job, files) -> int | None:
    """How many texts have no word that the module knows, and so one and the same vector; None where none are embedded.

    Every space of a text tells the same: the first one is asked.
    """
    spaces = [space for modality, space in job.dims if modality == "text"]
    if not spaces:
        return None
    return sum(r["without_known_words"] for r in files if (r["modality"], r["space"]) == ("text", spaces[0]))


def _in_words(job, counts, new, dead, seconds, unknown=None):
    reasons = collections.Counter(rejection.reason for rejection in dead)
    rows = sum(counts.values())
    lines = [f"{job.output}: {rows} vectors"]
    lines += [f"  {modality} in {space}: {number} x {job.dims[modality, space]}"
              for (modality, space), number in counts.items()]  # fmt: skip
    if new:
        lines.append(f"  {seconds:.1f} s, {new / seconds:.1f} vectors/s, with the start of Beam and the module")
    if unknown:
        lines.append(f"  {unknown} texts have no word that the module knows: they all have the vector of an empty text")
    if dead:
        why = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        lines.append(f"  rejected: {len(dead)} ({why}); why: {FileSystems.join(job.output, DEAD_LETTERS)}")
    return "\n".join(lines)
