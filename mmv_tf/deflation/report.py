"""The price of deflation in agreement and in retrieval, and what it saves."""

import time

import numpy as np
import tensorflow as tf

from mmv_tf.common.batches import filled
from mmv_tf.metrics import retrieval
from mmv_tf.model.cost import multiply_adds
from mmv_tf.training.embedder import RecordEmbedder

RECALLS = (1, 5)
_BATCH = 8  # images, or clips, whose time is taken


def distances(made: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """How far rows [N,D] are from others: the L2 distance of all as a share of their length, and 1 - mean cosine."""
    norms = np.linalg.norm(made, axis=1) * np.linalg.norm(wanted, axis=1)
    cosines = np.divide((made * wanted).sum(1), norms, out=np.zeros_like(norms), where=norms > 0)
    return {
        "relative_l2": float(np.linalg.norm(made - wanted) / max(np.linalg.norm(wanted), 1e-30)),
        "cosine_distance": float(1 - cosines.mean()),
    }


def distances_in_spaces(model, rows: dict[str, np.ndarray], wanted: np.ndarray) -> dict[str, dict]:
    """{'repr' or a space: {variant: distances}}, the spaces by the video heads over the representations [N,D]."""
    embedded = {name: model.embed_repr("video", tf.constant(made)) for name, made in {**rows, "": wanted}.items()}
    return {
        space: {name: distances(embedded[name][space].numpy(), embedded[""][space].numpy()) for name in rows}
        for space in embedded[""]
    }


def costs(image, video, shape) -> dict[str, float]:
    """Multiply-adds of an image and of a clip [T,H,W,3] of that `shape`, and milliseconds in batches of eight."""
    clip, frame = tuple(shape), tuple(shape[1:])
    result = {
        "image_multiply_adds": multiply_adds(image, tf.TensorSpec((1, *frame))),
        "video_multiply_adds": multiply_adds(video, tf.TensorSpec((1, *clip))),
        "image_milliseconds": _milliseconds(image, (_BATCH, *frame)),
        "video_milliseconds": _milliseconds(video, (_BATCH, *clip)),
    }
    for what in ("multiply_adds", "milliseconds"):
        result[f"{what}_ratio"] = result[f"video_{what}"] / result[f"image_{what}"]
    return result


def _milliseconds(network, shape) -> float:
    """Of one element of a batch; the fastest of several runs, since all else that disturbs makes them slower."""
    function, x = tf.function(network, autograph=False), tf.zeros(shape)
    function(x)
    times = []
    while len(times) < 3 or (sum(times) < 1 and len(times) < 20):
        start = time.perf_counter()
        function(x).numpy()
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / shape[0]


def image_retrieval(model, pipeline, networks, pattern, most: int, batch_size: int = 16) -> dict[str, dict[str, float]]:
    """Finds the sound and the text of a clip by its middle frame, among those of all clips of a set of records.

    Args:
      networks: {variant: image network}.
      pattern: of records.
      most: clips that are looked at, the first ones in the order of their files.
    Returns:
      {'image -> audio': {variant: {'R@1', 'R@5'}}} for the modalities that have a space in common with video and at
      least two clips with them; beside the variants 'video', which is asked with the whole clip, and 'chance'.
    """
    clips = RecordEmbedder(model, pipeline, batch_size).embed(pattern, most)
    frames = _middle_frames(pipeline, pattern, batch_size, most)
    queries = {"video": {space: rows for (modality, space), rows in clips.embeddings.items() if modality == "video"}}
    for variant, network in networks.items():
        embed = tf.function(lambda x, network=network: model.embed_repr("video", network(x)), autograph=False)
        parts = [embed(filled(frames[i : i + batch_size], batch_size)) for i in range(0, len(frames), batch_size)]
        queries[variant] = {space: np.concatenate([part[space] for part in parts])[: len(frames)] for space in parts[0]}
    results, spaces = {}, {m: model.graph.spaces_of(m) for m in model.graph.modalities}
    for target in (m for m in model.graph.modalities if m != "video"):
        space = retrieval.common_space("video", target, spaces)
        both = clips.present["video"] & clips.present[target]
        if space is None or both.sum() < 2:
            continue
        relevance, found = clips.relevance(both, by_text=target == "text"), clips.embeddings[target, space][both]
        rows = {
            name: retrieval.retrieval(query[space][both], found, relevance, recalls=RECALLS)
            for name, query in queries.items()
        }
        rows["chance"] = retrieval.chance(relevance, RECALLS)
        results[f"image -> {target}"] = rows
    return results


def _middle_frames(pipeline, pattern, batch_size, most):
    batches = pipeline.evaluation_dataset(pattern, batch_size).take(-(-most // batch_size))
    return np.concatenate([batch["video"][:, batch["video"].shape[1] // 2].numpy() for batch in batches])[:most]
