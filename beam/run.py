"""One run of the preprocessing around the pipeline: progress, summary, dataset.json and dead_letters.jsonl."""

import collections
import json
import logging
import os
import pathlib
import platform
import shutil
import time

import apache_beam as beam

import mmv_tf
from mmv_tf import dataset_card
from mmv_tf.beam import captions as captions_lib
from mmv_tf.beam import pipeline as graph
from mmv_tf.beam import shards
from mmv_tf.beam.progress import Progress

DEAD_LETTERS = "dead_letters.jsonl"
TOP_WORDS = 20_000  # kept in dataset.json


def preprocess(inputs, root, output, split, num_shards, settings, options):
    """Runs the pipeline over the inputs (manifest.Inputs) and writes everything that belongs beside the shards.

    Returns:
      0, or 1 when not a single clip was accepted.
    Raises:
      ValueError: the folder holds other splits that were made with other settings.
    """
    output, root = os.path.abspath(output), os.path.abspath(root)
    card = _card(output, split, settings, inputs)
    staging = graph.staging_folder(output, split)
    shards.make_folder(output)
    shards.make_folder(staging)
    card.save(output)  # while shards are being replaced, the card does not promise any
    # Beam warns of things that are not ours to mend (Google Cloud packages that are missing).
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    began = time.monotonic()
    with Progress(staging, len(inputs.sources)):
        with beam.Pipeline(options=options) as pipeline:
            graph.build(pipeline, inputs.sources, root, output, split, settings, card.label_map, num_shards)
    seconds = time.monotonic() - began
    reports = graph.read_reports(output, split, num_shards)
    counters, dead, used = graph.summarize(reports, inputs.rejections)
    card.splits[split] = dataset_card.Split(
        shards={report["name"]: report["records"] for report in reports},
        counters=counters,
        word_counts=_word_counts(source for source in inputs.sources if source.path in used),
        settings={"clip_seconds": settings.clip_seconds, "jpeg_quality": settings.jpeg_quality}
        | {"max_captions": settings.max_captions, "max_caption_gap": settings.max_caption_gap}
        | {"sha256": {report["name"]: report["sha256"] for report in reports}},
    )
    _remove_other_shards(output, split, card.splits[split].shards)
    _write_dead_letters(output, split, dead)
    card.save(output)
    shutil.rmtree(staging)
    print(summary(counters, inputs, reports, seconds, output))
    return 0 if counters["accepted"] else 1


def _card(output, split, settings, inputs):
    """The card to start from: other splits of the folder are kept, and so are the indices of their labels."""
    sizes = (settings.frame_rate, settings.sample_rate, settings.short_side)
    card = dataset_card.DatasetCard(*sizes)
    if os.path.exists(os.path.join(output, dataset_card.FILE_NAME)):
        before = dataset_card.load(output)
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
    labels = {label for source in inputs.sources for clip in source.clips for label in clip.labels}
    for label in sorted(labels - card.label_map.keys()):
        card.label_map[label] = len(card.label_map)
    import av

    card.versions = {
        "mmv_tf": mmv_tf.__version__,
        "apache-beam": beam.__version__,
        "av": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "python": platform.python_version(),
    }
    return card


def _word_counts(sources):
    counts = collections.Counter()
    for source in sources:
        for caption in {caption for clip in source.clips for caption in clip.captions}:
            counts.update(captions_lib.words(caption.text))
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP_WORDS]
    return dict(top)


def _remove_other_shards(output, split, names):
    """Shards of an earlier run with another --num_shards: a reader with a pattern would mix the two."""
    for path in pathlib.Path(output).glob(f"{split}-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"):
        if path.name not in names:
            path.unlink()


def _write_dead_letters(output, split, dead):
    """Adds the rejections of a split, sorted; those of other splits are kept."""
    path = os.path.join(output, DEAD_LETTERS)
    kept = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            kept = [line for line in file if json.loads(line)["split"] != split]
    lines = [json.dumps({"split": split} | rejection._asdict(), ensure_ascii=False) + "\n" for rejection in dead]
    with shards.WholeFile(graph.staging_folder(output, split), path) as file:
        file.write("".join(sorted(kept + lines)).encode())


def summary(counters, inputs, reports, seconds, output):
    """The lines that end a run: nothing that was dropped, mended or ignored stays unsaid."""
    accepted, hours = counters["accepted"], counters.get("milliseconds", 0) / 3.6e6
    megabytes = sum(report["bytes"] for report in reports) / 1e6
    reasons = ", ".join(f"{number} {reason}" for reason, number in counters["reasons"].items())
    has = ("with_video", "with_sound", "silent", "with_captions", "with_labels")
    lines = [
        f"{output}: {accepted} clips ({hours:.2f} h, {megabytes:.1f} MB) in {len(reports)} shards",
        f"  read {counters['read']} = accepted {accepted} + rejected {counters['rejected']} ({reasons or 'none'})",
        "  " + ", ".join(f"{counters.get(name, 0)} {name.replace('_', ' ')}" for name in has),
        f"  {seconds:.1f} s, {accepted / seconds:.1f} clips/s, {hours * 3600 / seconds:.1f} times real time",
    ]
    mended = [
        (inputs.ignored_files, "files ignored: neither video, sound nor narration"),
        (inputs.joined_rows, "rows joined with an earlier row of the same path and span"),
        (inputs.counts.replaced_characters, "characters of captions replaced: not valid text"),
        (inputs.counts.shortened, "captions or labels shortened"),
        (inputs.counts.dropped, "captions dropped: empty, without valid times, or too many"),
    ]
    lines += [f"  {number} {what}" for number, what in mended if number]
    if counters["rejected"]:
        lines.append(f"  why: {os.path.join(output, DEAD_LETTERS)}")
    return "\n".join(lines)
