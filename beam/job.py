"""One run of the preprocessing around the pipeline: progress, dataset.json and dead_letters.jsonl."""

import dataclasses
import json
import os
import platform

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import StandardOptions

import mmv_tf
from mmv_tf.beam import options as run_options
from mmv_tf.beam import pipeline as graph
from mmv_tf.beam import spool, storage
from mmv_tf.beam.progress import Progress
from mmv_tf.beam.summary import Cost, summarize, summary
from mmv_tf.records import card as dataset_card
from mmv_tf.records.naming import parse_shard_name

TOP_WORDS = 20_000  # kept in dataset.json


def preprocess(inputs, root, output, split, num_shards, settings, options):
    """Runs the pipeline over the inputs (specs.Inputs) and writes everything that belongs beside the shards.

    Args:
      root, output: folders, or URLs of file systems that Beam knows.
      num_shards: None for a number that suits the amount.
      options: Beam's PipelineOptions.
    Returns:
      0, or 1 when not a single clip was accepted.
    Raises:
      ValueError: the folder cannot be written, or holds other splits that were made with other settings or labels.
    """
    FileSystems.set_options(options)
    root, output = (path if storage.is_remote(path) else os.path.abspath(path) for path in (root, output))
    card = _card(output, split, settings)
    staging = graph.staging_folder(output, split)
    storage.check_writable(output)
    storage.check_writable(staging)  # the output may be there, and be a file or not ours to write

    def write_text(path, text):
        with storage.WholeFile(staging, path) as file:
            file.write(text.encode())

    others = _dead_letters_of_others(output, split)  # before the work, should the file be damaged
    spooled = spool.write(inputs.sources, staging, settings.max_clip_seconds)
    num_shards = num_shards or spooled.num_shards
    _add_labels(card, output, inputs.labels, spooled.labels)
    card.save(output, write_text)  # while shards are being replaced, the card does not promise any
    in_process = (options.view_as(StandardOptions).runner or "DirectRunner") == "DirectRunner"
    with Cost(in_process) as cost, Progress(staging, spooled.num_sources):
        with run_options.pipeline(options, output) as pipeline:
            graph.build(pipeline, spooled.files, root, output, split, settings, card.label_map, num_shards)
    done = summarize(graph.read_reports(output, split, num_shards), inputs)
    card.splits[split] = dataset_card.Split(
        shards=done.records,
        counters=done.counters,
        word_counts=dict(sorted(done.words.items(), key=lambda item: (-item[1], item[0]))[:TOP_WORDS]),
        settings=dataclasses.asdict(settings) | {"fingerprint": settings.fingerprint(), "sha256": done.sha256},
    )
    _delete_other_shards(output, split, done.records)
    told = [*done.dead, *inputs.remarks.lines]
    lines = [json.dumps({"split": split} | line._asdict(), ensure_ascii=False) + "\n" for line in told]
    write_text(FileSystems.join(output, dataset_card.DEAD_LETTERS), "".join(sorted(others + lines)))
    card.save(output, write_text)
    storage.delete_folder(staging)
    print(summary(done, inputs, cost, output, FileSystems.join(output, dataset_card.DEAD_LETTERS)))
    return 0 if done.counters["accepted"] else 1


def _card(output, split, settings):
    """The card to start from: other splits of the folder are kept, and so are the indices of their labels."""
    sizes = (settings.frame_rate, settings.sample_rate, settings.short_side)
    card = dataset_card.DatasetCard(*sizes)
    if FileSystems.exists(FileSystems.join(output, dataset_card.FILE_NAME)):
        before = dataset_card.load(output, storage.read_text)
        before.splits.pop(split, None)
        if before.splits:
            if (before.frame_rate, before.sample_rate, before.short_side) != sizes:
                theirs = (
                    f"--fps {before.frame_rate:g} --sample_rate {before.sample_rate} --short_side {before.short_side}"
                )
                raise ValueError(
                    f"{output}: holds the splits {', '.join(before.splits)}, made with {theirs}; "
                    "use the same, or another --output"
                )
            card = before
    import av

    card.versions = {
        "mmv_tf": mmv_tf.__version__,
        "apache-beam": beam.__version__,
        "av": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "python": platform.python_version(),
    }
    return card


def _add_labels(card, output, ordered, used):
    """Gives every label its id: that of the dataset's own order if it has one, else the next free ones by name."""
    for index, label in enumerate(ordered):
        if card.label_map and card.label_map.get(label) != index:
            theirs = f"id {card.label_map[label]}" if label in card.label_map else "no id"
            raise ValueError(
                f"{output}: label {label!r} has id {index} in this dataset, but {theirs} in the splits "
                f"{', '.join(card.splits)} that are there; use another --output"
            )
    card.label_map = card.label_map or {label: index for index, label in enumerate(ordered)}
    for label in sorted(used - card.label_map.keys()):
        card.label_map[label] = len(card.label_map)


def _delete_other_shards(output, split, names):
    """Shards of an earlier run with another --num_shards: a reader with a pattern would mix the two."""
    for name in storage.names(output, f"{split}-"):
        parts = parse_shard_name(name)
        if name not in names and parts and parts.split == split:
            storage.delete(FileSystems.join(output, name))


def _dead_letters_of_others(output, split):
    """The lines of dead_letters.jsonl that are of other splits. ValueError: it is damaged."""
    path, kept = FileSystems.join(output, dataset_card.DEAD_LETTERS), []
    try:
        lines = storage.read_text(path).split("\n")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text: it is damaged; move it away and run again") from None
    for number, line in enumerate(lines, 1):
        try:
            if line and dataset_card.dead_letter(line)["split"] != split:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            what = f"line {number} is none that preprocess writes: {line[:40]!r}"
            raise ValueError(f"{path}: {what}; move the file away and run again") from None
    return kept
