"""Scorers: small networks that say how well two vectors fit, in the place of the cosine; and the loss that needs one.

    Graph.pairs = [('audio', 'audio_2', 'a', {'loss': @coincidence, 'scorer': @Scorer})]
    Scorer.hidden = (128,)

Each pair has a scorer of its own. It is trained and kept in checkpoints as heads are, and no part of an export: what
searches, probes and evaluations compare are embeddings, by their cosine.
"""

from collections.abc import Sequence

import keras
from keras import ops

from mmv_tf.backbones.layers import fan_in_normal
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count
from mmv_tf.model.losses import Compared, Embeddings, _compare_scores, _one_candidate


@configurable
@keras.saving.register_keras_serializable("mmv_tf")
class Scorer(keras.layers.Layer):
    """A perceptron over every two vectors side by side: [b, d] and [B, d'] -> [b, B] float32.

    relu([x_i, y_j] W_1 + b_1), the like for each further hidden layer, and a linear one of one output. It holds
    b x B x hidden numbers at once, and computes in the precision of its weights, as heads do.

    Args:
      hidden: widths of the hidden layers, one at least.
    """

    def __init__(self, hidden: Sequence[Count] = (128,), **kwargs):
        super().__init__(autocast=False, **kwargs)
        if not hidden:
            raise ValueError("Scorer.hidden = (): a scorer without a hidden layer cannot compare; give it a width.")
        self.hidden = tuple(hidden)
        self.kernels, self.biases = [], []

    def build(self, first_shape, second_shape):
        widths = (first_shape[-1] + second_shape[-1], *self.hidden, 1)
        for number, (ins, outs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            name = f"hidden_{number}" if number < len(self.hidden) else "score"
            self.kernels.append(self.add_weight(name=f"{name}_kernel", shape=(ins, outs), initializer=fan_in_normal()))
            self.biases.append(self.add_weight(name=f"{name}_bias", shape=(outs,), initializer="zeros"))

    def call(self, first, second):
        first, second = (ops.cast(x, self.variable_dtype) for x in (first, second))
        # The product of two vectors side by side is a sum of two, and most of it is the same for all others.
        above, below = ops.split(self.kernels[0], [first.shape[-1]], axis=0)
        x = ops.matmul(first, above)[:, None] + ops.matmul(second, below)[None] + self.biases[0]
        for kernel, bias in zip(self.kernels[1:], self.biases[1:], strict=True):
            x = ops.matmul(ops.relu(x), kernel) + bias
        return ops.cast(x[..., 0], "float32")

    def get_config(self):
        return {**super().get_config(), "hidden": self.hidden}


@configurable(denylist=["score"])
def coincidence(first: Embeddings, second: Embeddings, score: keras.layers.Layer) -> Compared:
    """Whether two inputs belong together, as a binary question about every two of the batch (arXiv 1911.05894).

    The mean of softplus(-score) over the samples with themselves, and that of softplus(score) over all others: chance
    level 2 ln 2, floor 0. Who is there on one side alone stays a negative for others, on either side.

    Args:
      score: of the pair's `scorer`: [b, d], [B, d] -> [b, B].
    Raises:
      ValueError: one of the sides has several candidates.
    """
    _one_candidate("coincidence", first, second)
    rows = score(first.local[:, 0], second.everyone[:, 0])
    if first.local is first.everyone and second.local is second.everyone:
        columns = ops.transpose(rows)
    else:  # to be looked at only
        constants = first.constant(), second.constant()
        columns = ops.transpose(ops.stop_gradient(score(constants[0].everyone[:, 0], constants[1].local[:, 0])))
    c = _compare_scores(first, second, rows, columns)
    here, there = first.mask & second.everyone_mask[:, 0], second.everyone_mask[:, 0]  # [b, B], [B]
    firsts, seconds = (ops.sum(ops.cast(mask, "float32")) for mask in (first.everyone_mask[:, 0], there))
    of_own = ops.sum(ops.where(here & c.own, ops.softplus(-rows), 0.0), axis=1)
    of_others = ops.sum(ops.where(here & ~c.own, ops.softplus(rows), 0.0), axis=1)
    count = ops.where(seconds > 0, firsts, 0.0)
    loss = of_own / ops.maximum(c.count, 1.0) + of_others / ops.maximum(firsts * seconds - c.count, 1.0)
    return c._replace(valid=first.mask[:, 0] & ops.any(there), count=count).compared(loss * count)
