"""The logs of a training step: {name: (sum, weight)}, which add up over replicas and steps to means.

total_loss                          the weighted sum of the pairs
loss/<pair>                         mean over the samples that have both modalities
loss/<pair>/<source>                the same over the samples of one source, where a run mixes several
accuracy/<pair>, .../_reverse       in-batch retrieval at 1: the second modality by the first, and the reverse (to tell
                                    it by its name: mmv_tf.pages.curves.is_reverse)
nearest/<pair>                      in its place where the second side is a memory: nearer to the own record than to all
                                    that were drawn
told/<pair>                         of heads that classify, in the place of it all: share of what is told right
similarity/<pair>/positive          over temperature, with itself (best candidate); `negative`: mean with all others
norm/<modality>/<space>             mean length of the embeddings
spread/<modality>/<space>           square root of the variance of the normalised embeddings of the global batch, summed
                                    over dimensions: 1 where they point everywhere, 0 where they have collapsed; not of
                                    logits, which are to point one way
empty/text                          share of the clips with text of whose words none has a vector: they count as
                                    without text
gradient_norm                       of the gradient of the global batch
loss_scale, left_out                under mixed_float16: what the loss is multiplied by after the step, and the share of
                                    steps that were left out because their gradients were not finite
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from mmv_tf.common import replicas
from mmv_tf.model.graph import Graph
from mmv_tf.model.losses import Compared, Embeddings

_EMPTY_TEXTS = "empty/text"

Logs = dict[str, tuple[tf.Tensor, tf.Tensor]]


_OF_SCALE = ("loss_scale", "left_out")


def names(graph: Graph, sources: Sequence[str], empty_texts: bool = False, scales: bool = False) -> list[str]:
    """The names of a step's logs, in order. `empty_texts`: whether the text network tells which texts are; `scales`:
    whether the loss is scaled."""
    pairs = [n for pair in graph.pairs for n in _pair_names(graph.pair_name(pair), sources, pair.measured)]
    spaces = [(m, space) for m in graph.inputs for space in graph.compared_spaces(m)]
    sides = [f"{what}/{m}/{s}" for m, s in spaces for what in ("norm", *["spread"] * graph.ranks(m, s))]
    return ["total_loss", *pairs, *sides, *[_EMPTY_TEXTS] * empty_texts, "gradient_norm", *_OF_SCALE[: 2 * scales]]


def _pair_names(pair: str, sources: Sequence[str], measured: str) -> list[str]:
    found = [f"{measured}/{pair}", *[f"accuracy/{pair}_reverse"] * (measured == "accuracy")]
    similarities = [f"similarity/{pair}/{sign}" for sign in ("positive", "negative") if measured != "told"]
    return [f"loss/{pair}", *found, *similarities, *(f"loss/{pair}/{source}" for source in sources)]


def of_share(share, weight=1.0):
    """(sum, weight) of a value whose shares on the replicas add up to it."""
    return tf.cast(share, tf.float32), tf.cast(weight, tf.float32) / replicas.count()


def of_pair(
    pair: str, compared: Compared, sources: Sequence[str], source: tf.Tensor | None, measured: str = "accuracy"
) -> Logs:
    """The logs of a pair of modalities.

    Args:
      source: [b], index into `sources` of each sample.
      measured: of the `Pair`.
    """
    valid = tf.cast(compared.valid, tf.float32)

    def mean(values, where=valid):
        # tf.where and not a product: NaN of what is left out must not count, NaN of the rest must.
        return tf.reduce_sum(tf.where(where > 0, tf.cast(values, tf.float32), 0.0)), tf.reduce_sum(where)

    reverse = [compared.found_reverse] * (measured == "accuracy")
    said = [compared.found, *reverse, compared.positive, compared.negative]
    if measured == "told":
        said = [0.5 * (tf.cast(compared.found, tf.float32) + tf.cast(compared.found_reverse, tf.float32))]
    values = [
        of_share(compared.share(), compared.count > 0),
        *map(mean, said),
        *(mean(compared.loss, valid * tf.cast(source == i, tf.float32)) for i in range(len(sources))),
    ]
    return dict(zip(_pair_names(pair, sources, measured), values, strict=True))


def of_embeddings(place: str, side: Embeddings, ranked: bool = True) -> Logs:
    """The logs of a modality in a space, '<modality>/<space>'; the spread where something is found by it."""
    local = tf.cast(side.mask, tf.float32)
    norms = tf.norm(tf.where(side.mask[..., None], side.local, 1.0), axis=-1)
    present = tf.cast(side.everyone_mask, tf.float32)[..., None]
    count = tf.reduce_sum(present)
    norm = (tf.reduce_sum(norms * local), tf.reduce_sum(local))
    if not ranked:
        return {f"norm/{place}": norm}
    # Only to be looked at: no gradient, and what is absent (whose norm may be 0) is left out.
    everyone = tf.stop_gradient(tf.where(side.everyone_mask[..., None], side.everyone, 1.0))
    unit = tf.math.l2_normalize(everyone, axis=-1)
    mean = tf.reduce_sum(unit * present, axis=[0, 1]) / tf.maximum(count, 1.0)
    variance = tf.reduce_sum(tf.square(unit - mean) * present) / tf.maximum(count, 1.0)  # summed over dimensions
    return {
        f"norm/{place}": norm,
        f"spread/{place}": of_share(tf.sqrt(variance) / replicas.count(), count > 1),
    }


def of_step(norm: tf.Tensor, is_taken: tf.Tensor, loss_scale=None) -> Logs:
    """The logs of what `stepping.step` gives, all scalars that are equal on all replicas."""

    def mean(value, weight=1.0):
        return of_share(value / replicas.count(), weight)

    found = {"gradient_norm": mean(tf.where(is_taken, norm, 0.0), is_taken)}
    if loss_scale is not None:
        values = tf.convert_to_tensor(loss_scale), 1.0 - tf.cast(is_taken, tf.float32)
        found |= dict(zip(_OF_SCALE, map(mean, values), strict=True))
    return found


def of_empty_texts(batch: Mapping[str, tf.Tensor]) -> Logs:
    """The log of a batch of `MMV.without_empty_texts`."""
    mask, empty = batch["text_mask"], batch["text_empty"]
    left = tf.reduce_any(tf.reshape(mask, [tf.shape(mask)[0], -1]), axis=1)
    counted = [tf.reduce_sum(tf.cast(clips, tf.float32)) for clips in (empty, left | empty)]
    return {_EMPTY_TEXTS: tuple(counted)}


def sum_over_replicas(logs: Mapping[str, tuple]) -> tf.Tensor:
    """[names, 2] sums and weights over all replicas, in one reduction."""
    sums = [tf.stack([tf.cast(total, tf.float32), tf.cast(weight, tf.float32)]) for total, weight in logs.values()]
    return replicas.total(tf.stack(sums))
