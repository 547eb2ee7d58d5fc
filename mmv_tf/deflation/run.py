"""One deflation, read from top to bottom."""

import hashlib
import inspect
import json
import math
import os

import numpy as np
import tensorflow as tf

from mmv_tf.common import config, files, identity, paths
from mmv_tf.deflation import images as images_module
from mmv_tf.deflation import page, report
from mmv_tf.deflation.images import Crops
from mmv_tf.deflation.network import FOLDER, REPORT, WEIGHTS, fingerprint, image_network, weights_checkpoint
from mmv_tf.deflation.settings import Deflation
from mmv_tf.deflation.targets import embedder, kept_outputs, outputs
from mmv_tf.deflation.training import Training
from mmv_tf.inputs import shards
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.preemption import Preemption


def deflate_workdir(
    workdir: str,
    gin_files=(),
    gin_params=(),
    images=(),
    records=(),
    held_out: str | None = None,
    retrieval_records: str | None = None,
) -> dict:
    """Trains the image network of a workdir and measures it, into WORKDIR/deflated.

    Args:
      images: folders or patterns of JPEG and PNG files.
      records: patterns of records, whose frames are used. Neither: the records that the run was trained on.
      held_out: images or records to measure with; None: a part of the above, by the hash of the image or its video.
      retrieval_records: pattern of records to find the sound and text of images in; '': none; None: those beside the
        training records that are called test or validation.
    Returns:
      what report.json holds.
    Raises:
      ValueError: no workdir, no images, or a setting or a file is wrong; names it.
      FloatingPointError: NaN or Inf; names the step or the image.
      Preempted: SIGTERM or Ctrl-C came; the same call goes on.
    """
    # 1. The trained model, and its image network before training.
    loaded = workdirs.load(workdir, gin_params, gin_files)
    settings, folder = Deflation(), os.path.join(workdir, FOLDER)
    model, clips = loaded.model, loaded.pipeline.video
    naive = image_network(model, variant="naive")
    network = image_network(model, variant="naive")
    inflated = image_network(model, variant="inflated", frames=clips.num_frames)

    # 2. Images to learn from and to measure with: always the same crops of them.
    learn, measure, source = _images(settings, loaded.pipeline, images, records, held_out)
    learn = Crops(learn, clips, settings.crops_per_image, settings.seed)
    measure = Crops(measure, clips, 0, settings.seed)
    counts = f"{len(learn)} crops of {len(learn.images)} images to learn from, {len(measure)} images held out"
    print(f"{counts}; {source}", flush=True)
    if retrieval_records is None:
        retrieval_records = shards.held_out_beside([source.pattern for source in loaded.pipeline.sources])
    if retrieval_records:
        shards.find(retrieval_records)  # a mistyped pattern should not come to light after the training
    made_for = _made_for(settings, clips, model.backbones["video"], learn.images, measure.images)

    # 3. What the video network makes of them, once; then scales and offsets that make the same.
    with Preemption(tf.distribute.get_strategy()) as stop:
        tf.io.gfile.makedirs(folder)
        embed, targets = embedder(inflated, clips.normalised), _targets_folder(folder, made_for)
        wanted = kept_outputs(embed, measure, settings.video_batch_size, os.path.join(targets, "held_out"), stop)
        training = Training(network, measure, wanted, settings, folder, made_for, clips.normalised)
        length = f"up to {settings.steps:,} steps of {settings.batch_size} crops (Deflation.steps); it ends when"
        looks = f"{settings.patience} looks in a row, {settings.check_every} steps apart, show nothing better"
        print(length, looks, flush=True)
        if training.restore():
            print(f"resumed from step {int(training.step.numpy())} in {folder}", flush=True)
        if not training.ended:
            made = kept_outputs(embed, learn, settings.video_batch_size, os.path.join(targets, "learn"), stop)
            training.run(learn, made, stop)
        training.give_best()

    # 4. What comes of it.
    manager = tf.train.CheckpointManager(
        weights_checkpoint(network, model.backbones["video"], loaded.step), os.path.join(folder, WEIGHTS), max_to_keep=1
    )
    manager.save(checkpoint_number=loaded.step)
    files.write_text(os.path.join(folder, workdirs.CONFIG), config.operative())
    networks = {"naive": naive, "trained": network, "inflated": inflated}
    rows = {
        name: outputs(embedder(networks[name], clips.normalised), measure, settings.batch_size)
        for name in ("naive", "trained")
    }
    result = {
        "step": loaded.step,
        "frames": clips.num_frames,
        "image_size": clips.crop_size,
        "images": {"source": source, "learned_from": len(learn.images), "crops": len(learn), "held_out": len(measure)},
        "training": training.summary(),
        "distance_to_inflated": report.distances_in_spaces(model, rows, wanted),
        "cost": report.costs(naive, model.backbones["video"], clips.shape),
    }
    if retrieval_records:
        found = report.image_retrieval(model, loaded.pipeline, networks, retrieval_records, settings.max_held_out)
        result |= {"retrieval": found, "retrieval_records": retrieval_records}
    files.write_text(os.path.join(folder, REPORT), json.dumps(result, indent=2) + "\n")
    files.write_text(os.path.join(folder, "learning_curve.json"), json.dumps(training.history, indent=2) + "\n")
    files.write_text(os.path.join(folder, "index.html"), page.render(result, training.history))
    tf.io.gfile.rmtree(targets)
    return result


def _images(settings, pipeline, images, records, held_out):
    """Images to learn from, those that are held out, and one line about where they are from."""
    s, patterns = settings, [*images, *records]
    if not patterns:
        for source in pipeline.sources:
            patterns += [source.pattern] if isinstance(source.pattern, str) else source.pattern
        if not patterns:
            raise ValueError("The run names no records: give --images FOLDER or --records 'FOLDER/train-*'.")
        if absent := [pattern for pattern in patterns if not paths.matching(pattern)]:
            raise ValueError(
                f"The records of the run are not at {absent[0]!r} (seen from here): give --records 'FOLDER/train-*' "
                "or --images FOLDER."
            )
        records = patterns
    wanted = s.max_images if held_out else s.max_images / (1 - s.held_out_share)
    most = math.ceil(wanted / len(patterns))
    found = images_module.Images()
    for pattern in images:
        found += images_module.from_files(pattern, most, s.seed)
    for pattern in records:
        found += images_module.from_records(pattern, most, s.images_per_record, s.seed)
    source = ", ".join(patterns)
    if held_out:
        apart = images_module.load(held_out, s.max_held_out, s.images_per_record, s.seed)
        return found, apart, f"{source}; held out: {held_out}"
    learn, apart = found.split(s.held_out_share)
    return learn, apart.take(range(min(len(apart), s.max_held_out))), source


def _made_for(settings, clips, video, learn, measure) -> str:
    """A name for all that the state of a training depends on; how long it lasts may change."""
    lasting = ("steps", "patience", "check_every", "video_batch_size")
    parts = {name: value for name, value in vars(settings).items() if name not in lasting}
    parts |= {f"video_{name}": value for name, value in _crops_by(clips).items()}
    parts |= {
        "video_settings": identity.of(video),
        "weights": fingerprint(video),
        "learn": learn.fingerprint(),
        "measure": measure.fingerprint(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _crops_by(clips) -> dict:
    """The settings of a VideoInput: its numbers, and of all else what is not as usual.

    What is usual is left out, so that states of versions that knew the numbers alone are gone on with.
    """
    usual = inspect.signature(type(clips)).parameters
    told = {}
    for name, value in vars(clips).items():
        if isinstance(value, (int, float)):
            told[name] = value
        elif name.startswith("_") or callable(value):
            continue  # made of the other settings
        elif name not in usual or not np.array_equal(value, usual[name].default):
            told[name] = identity.describe(value)
    return told


def _targets_folder(folder: str, made_for: str) -> str:
    """Where the outputs of the video network are; those of another training are removed."""
    path = os.path.join(folder, "targets", made_for[:16])
    if not tf.io.gfile.isdir(path) and tf.io.gfile.isdir(os.path.dirname(path)):
        tf.io.gfile.rmtree(os.path.dirname(path))
    return path
