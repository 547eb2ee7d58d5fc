"""Gradients of a contrastive loss over a batch that does not fit in memory at once.

Adding up the gradients of small batches would give each sample only the negatives of its own small batch. Here the
representations of all micro-batches are computed first, without keeping what lies below them; the loss of the whole
batch gives their gradients; and each micro-batch passes a second time, to carry its part of them down (GradCache,
arXiv 2101.06983). The cost is one forward pass more; the memory is that of one micro-batch and of B representations.

Heads and losses see the whole batch. Batch norm inside the backbones sees one micro-batch at a time, as it would on as
many replicas that did not share their statistics: that alone differs from the big batch. Moving averages are updated
once a micro-batch.
"""

import tensorflow as tf

from mmv_tf.backbones import batch_norm
from mmv_tf.common import replicas

FIRST = "first_sample"  # of a micro-batch, its number in the global batch: what networks draw hangs on it


def gradients(model, batch, variables, micro_batches: int = 1, scale=lambda loss: loss):
    """Gradients of this replica's share of the loss, and its logs.

    Args:
      model: an MMV.
      batch: dict of tensors, a replica's part of the global batch.
      variables: what to differentiate by.
      micro_batches: parts that the batch passes in; 1 is the plain gradient.
      scale: of the loss, before it is differentiated.
    Returns:
      (list of gradients, None for variables that the loss does not use; logs of `MMV.compute_losses`)
    Raises:
      ValueError: the batch cannot be cut into that many equal parts.
    """
    if micro_batches == 1:
        with tf.GradientTape() as tape:
            total, logs = model.compute_losses(batch, training=True)
            total = scale(total)
        return tape.gradient(total, variables), logs
    batch = model.without_empty_texts(batch)
    parts = _cut(model, batch, micro_batches)

    def first_pass(part):
        with batch_norm.averages_frozen():  # the second pass sees the same statistics, and updates them
            return model.represent(part, training=True)

    types = {
        n: model.backbones[model.graph.modality_of(n)].compute_dtype for n in model.graph.trained_inputs if n in parts
    }
    representations = _map(first_pass, parts, micro_batches, types)
    with tf.GradientTape() as tape:
        tape.watch(representations)
        total, logs = model.compute_losses_of(representations, batch, training=True)
        total = scale(total)
    above, cached = tape.gradient(total, [variables, representations])
    cached = {name: gradient for name, gradient in cached.items() if gradient is not None}  # some no pair compares

    def second_pass(part, cached):
        with tf.GradientTape() as tape:
            representations = model.represent(part, training=True)
            # Its gradient is the chain rule's: the cached gradient times the derivative of the representation.
            products = [
                tf.reduce_sum(representations[m] * tf.cast(cached[m], representations[m].dtype)) for m in cached
            ]
            carrier = tf.add_n([tf.cast(product, tf.float32) for product in products])
        found = tape.gradient(carrier, variables)
        return [None if g is None else tf.convert_to_tensor(g) for g in found]  # learned word vectors give slices

    below = _sum(second_pass, (parts, _cut_tree(cached, micro_batches)), micro_batches, variables)
    return [_add(a, b) for a, b in zip(above, below, strict=True)], logs


def _cut(model, batch, count):
    """The inputs and masks of the backbones as [count, b / count, ...]."""
    names = [n for n in batch if n.removesuffix("_mask") in model.graph.inputs]
    size = next(iter(batch.values())).shape[0]
    if size is not None and size % count:
        raise ValueError(
            f"MMV.micro_batches = {count} cannot divide a replica's {size} clips: make train.batch_size a multiple of "
            "the number of replicas times MMV.micro_batches."
        )
    parts = _cut_tree({name: batch[name] for name in names}, count)
    size, replica = tf.shape(next(iter(batch.values())))[0], replicas.context()
    own = 0 if replica is None else replica.replica_id_in_sync_group * size
    return {**parts, FIRST: own + tf.range(count) * (size // count)}


def _cut_tree(tree, count):
    return {name: tf.reshape(value, [count, -1, *value.shape[1:]]) for name, value in tree.items()}


def _part(tree, i):
    return tf.nest.map_structure(lambda value: value[i], tree)


def _map(function, parts, count, types):
    """`function` of every part, put together again along the batch."""
    if replicas.context() is None:
        outputs = tf.map_fn(function, parts, fn_output_signature=types, parallel_iterations=1)
        return {name: tf.reshape(value, [-1, *value.shape[2:]]) for name, value in outputs.items()}
    outputs = [function(_part(parts, i)) for i in range(count)]  # see `_sum`
    return {name: tf.concat([output[name] for output in outputs], axis=0) for name in outputs[0]}


def _sum(function, parts, count, variables):
    """The sum of `function`'s gradients over the parts, None where there is none."""
    if replicas.context() is not None:
        # Replicas meet inside the function (batch norm), which TensorFlow does not allow in a loop of the graph.
        total = [None] * len(variables)
        for i in range(count):
            total = [_add(a, b) for a, b in zip(total, function(*_part(parts, i)), strict=True)]
        return total
    used = []

    def body(i, sums):
        found = function(*_part(parts, i))
        used[:] = [g is not None for g in found]
        return i + 1, [s if g is None else s + g for s, g in zip(sums, found, strict=True)]

    zeros = [tf.zeros(v.shape, v.dtype) for v in variables]
    _, sums = tf.while_loop(lambda i, _: i < count, body, (0, zeros), parallel_iterations=1, maximum_iterations=count)
    return [s if u else None for s, u in zip(sums, used, strict=True)]


def _add(one, other):
    if one is None or other is None:
        return one if other is None else other
    return one + other
