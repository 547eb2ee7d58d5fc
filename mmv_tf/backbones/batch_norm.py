"""The one batch normalisation of this library: cross-replica, with the moving averages of the released networks."""

import contextlib
import threading
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import NotNegative, ShareBelowOne


class _Here(threading.local):  # MirroredStrategy traces each replica in a thread of its own
    mask = None
    frozen = False
    condition = None


_here = _Here()

# Settings of `BatchNorm` for the networks of other libraries, in which only what differs from ours stands.
PYTORCH = {"unbiased": True, "debias": False}
KERAS = {"debias": False}
SETTINGS = ("decay", "epsilon", "unbiased", "debias")


@contextlib.contextmanager
def _holding(**values):
    before = {name: getattr(_here, name) for name in values}
    vars(_here).update(values)
    try:
        yield
    finally:
        vars(_here).update(before)


def present(mask):
    """Inside it, what is missing has no part in batch statistics.

    Every `BatchNorm` in training mode takes its mean and variance, and with them its moving averages, from the samples
    whose mask is True (over all replicas); outputs and gradients of those are as if the others were not in the batch.
    The others are normalised with the same statistics. If no sample of the global batch is there, mean 0 and variance
    1 stand in, and moving averages and counter stay as they are.

    It holds for the thread that enters it: under a strategy enter it inside `strategy.run`.

    Args:
      mask: [b] or [b, K] bool, over the leading axes of what the network is given; None: all are there. Where a network
        has merged an axis into the first one (frames into clips), the first axis is a multiple of the mask's size.
    """
    return _holding(mask=mask)


def averages_frozen():
    """Inside it, `BatchNorm` in training mode uses batch statistics and leaves moving averages and counter alone.

    For passes that compute again what was computed before. It holds for the thread that enters it.
    """
    return _holding(frozen=True)


def averages_frozen_unless(condition):
    """Inside it, `BatchNorm` in training mode updates moving averages and counter only where `condition` holds.

    For a batch that turns out to be a stand-in when it is computed. It holds for the thread that enters it.

    Args:
      condition: scalar bool tensor.
    """
    return _holding(condition=condition)


def mask_here():
    """The mask of the innermost `present`, for who computes later what is computed here."""
    return _here.mask


@configurable
class BatchNorm(keras.layers.Layer):
    """Batch normalisation over all axes but the last, as in the released MMV networks.

    `y = (x - mean) * scale / sqrt(variance + epsilon) + offset`, with the biased variance. In training the mean and
    the variance are those of the *global* batch: under a `tf.distribute` strategy they are reduced over the replicas,
    with exact gradients. They are computed in float32 when activations are bfloat16 or float16.

    It differs from `keras.layers.BatchNormalization` in the moving averages. Those of Keras start at 0 and 1 and keep
    a share of that start for long; these are averages of the batches seen so far and of nothing else (after one step
    they equal the statistics of that batch), so a short run does not evaluate with stale statistics. The update
    `average += (batch - average) * (1 - decay) / (1 - decay**t)` is the exponential average of
    deepmind-research/mmv (haiku's `ExponentialMovingAverage` with `zero_debias`), written without its second array.
    Keras's fused kernel also averages the unbiased variance; here it is the biased one, as in the reference.

    Before the first training step inference uses mean 0 and variance 1. As in Keras, a layer that is not `trainable`
    normalises with its moving averages also when `training=True`, and leaves them alone. See `present` for samples that
    are missing, and `averages_frozen`.

    Networks of other libraries differ in the averages (their outputs in training are the same): PyTorch's averages the
    unbiased variance, and neither PyTorch nor Keras debiases. `PYTORCH` has the settings of the one, `KERAS` of the
    other.

    Args:
      decay: weight of the past in the moving averages (PyTorch's `momentum` is 1 - decay).
      epsilon: added to the variance.
      unbiased: average the variance times n / (n - 1), n being the number of values behind it in the global batch. What
        normalises the batch is the biased one all the same.
      debias: see above; otherwise the averages start at 0 and 1, and `average += (batch - average) * (1 - decay)`.
    """

    scale_initializer = "ones"  # a network may set another on the layer before it is built

    def __init__(
        self,
        decay: ShareBelowOne = 0.9,
        epsilon: NotNegative = 1e-5,
        unbiased: bool = False,
        debias: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.decay, self.epsilon = decay, epsilon
        self.unbiased, self.debias = unbiased, debias

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.scale = self.add_weight(name="scale", shape=shape, initializer=self.scale_initializer, autocast=False)
        self.offset = self.add_weight(name="offset", shape=shape, initializer="zeros", autocast=False)
        # Each replica updates its own copy: the statistics were reduced already, so the copies stay equal without
        # another exchange (aggregation "none", the default of add_weight). The counter is a float because an int32
        # variable lives in host memory on GPUs, which XLA cannot read; decay**t reaches 0 long before 2**24 steps.
        self.moving_mean = self.add_weight(
            name="moving_mean", shape=shape, initializer="zeros", trainable=False, autocast=False
        )
        self.moving_variance = self.add_weight(
            name="moving_variance", shape=shape, initializer="ones", trainable=False, autocast=False
        )
        self.counter = self.add_weight(name="counter", shape=(), initializer="zeros", trainable=False, autocast=False)

    def call(self, inputs, training=False):
        """Normalises `inputs` [..., C]; the result has the layer's compute dtype."""
        if training and self.trainable:
            outputs, mean, variance, weight = self._normalise_by_batch(inputs)  # the variance that is averaged
            if _here.condition is not None:
                there = ops.cast(_here.condition, mean.dtype)
                weight = there if weight is None else weight * there
            if not _here.frozen:
                self._update(mean, variance, weight)
        elif len(inputs.shape) >= 4 and _has_fused_kernel(inputs):
            outputs = self._fused(inputs, self.moving_mean, self.moving_variance)[0]
        else:
            multiplier, shift = self.inference_affine()
            x = ops.cast(inputs, multiplier.dtype)
            outputs = x * multiplier + shift
        return ops.cast(outputs, self.compute_dtype)

    def inference_affine(self):
        """Returns (multiplier [C], shift [C]): inference is `x * multiplier + shift`. A convolution can absorb both."""
        multiplier = self.scale * ops.rsqrt(self.moving_variance + self.epsilon)
        return multiplier, self.offset - self.moving_mean * multiplier

    def _normalise_by_batch(self, x):
        """Outputs in the compute dtype, mean, variance, and 0 if no sample was there to take them from (None: some)."""
        # The kernel cannot weigh samples. A switch between the two costs more time to trace than it saves.
        if _here.mask is None and len(x.shape) >= 4 and _has_fused_kernel(x) and _is_alone():
            return self._by_kernel(x)
        return self._by_moments(x, _weights(x, self.variable_dtype))

    def _by_kernel(self, x):
        outputs, mean, variance = self._fused(x)
        return ops.cast(outputs, self.compute_dtype), mean, variance, None

    def _by_moments(self, x, weights):
        x = ops.cast(x, self.variable_dtype)
        deviations, mean, variance, count = moments(x, weights)
        multiplier = self.scale * ops.rsqrt(variance + self.epsilon)
        # The deviations have no gradient for the mean; it comes back in a term that is 0. One pass over x less.
        shift = self.offset - (mean - ops.stop_gradient(mean)) * multiplier
        outputs = ops.cast(deviations * multiplier + shift, self.compute_dtype)
        if self.unbiased:
            variance *= count / ops.maximum(count - 1, 1)
        return outputs, mean, variance, ops.cast(count > 0, mean.dtype)

    def _fused(self, x, mean=None, variance=None):
        """Outputs, mean and variance to average by one kernel; with the statistics of `x` unless others are given."""
        # On a CPU four times as fast in training as separate operations, forward and backward, twice at inference.
        import tensorflow as tf

        is_training, rank = mean is None, len(x.shape)
        none = tf.zeros([0]) if is_training else None
        rows, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x if rank == 4 else tf.reshape(x, _four_axes(x)),
            scale=ops.convert_to_tensor(self.scale),
            offset=ops.convert_to_tensor(self.offset),
            mean=none if is_training else ops.convert_to_tensor(mean),
            variance=none if is_training else ops.convert_to_tensor(variance),
            epsilon=self.epsilon,
            is_training=is_training,
        )
        if rank > 4:
            rows = tf.reshape(rows, _shape(x))
            rows.set_shape(x.shape)
        if not is_training or self.unbiased:
            return rows, mean, unbiased
        known = x.shape.num_elements()
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32) if known is None else np.float32(known // x.shape[-1])
        return rows, mean, unbiased * ((count - 1) / count)

    def _update(self, mean, variance, weight):
        # A network has a hundred of these: what is a number before the graph is there is no operation in it.
        decay = np.asarray(self.decay, self.counter.dtype)[()]
        counter = ops.convert_to_tensor(self.counter) + (1 if weight is None else weight)
        rate = 1 - decay if weight is None else weight * (1 - decay)
        if self.debias:
            rate /= 1 - ops.power(decay, counter if weight is None else ops.maximum(counter, 1))
        self.counter.assign(counter)
        for average, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
            held = ops.convert_to_tensor(average)
            average.assign(held + (ops.stop_gradient(found) - held) * rate)

    def compute_output_shape(self, input_shape):
        return input_shape


def moments(x, weights=None):
    """Mean and biased variance of `x` [..., C] over all leading axes and over the replicas of the strategy.

    Must be called in a replica context when there are several replicas. The variance is the mean of squared distances
    from the global mean: the reference's E[x^2] - E[x]^2 loses digits where the mean is large beside the spread (the
    heads), and then two replicas do not agree with one.

    Args:
      x: [..., C].
      weights: 0 and 1 in the dtype of `x`, of the rank of `x`, to be broadcast; None: ones.

    Returns:
      x - mean, without a gradient for the mean (that of the variance for it is 0, as squares are least there); mean
      [C] and variance [C], 0 and 1 where all weights are 0; the sum of the weights over the leading axes.
    """
    axes = list(range(len(x.shape) - 1))
    count = ops.cast(ops.prod(ops.shape(x)[:-1]), x.dtype)  # replicas may hold unequal shares
    if weights is not None:
        count = ops.sum(weights) * (count / ops.cast(ops.size(weights), x.dtype))
    sums = _over_replicas(ops.append(_sum(x, weights, axes), count))
    count = sums[-1]
    divisor = ops.maximum(count, 1)
    mean = sums[:-1] / divisor
    deviations = x - ops.stop_gradient(mean)
    variance = _over_replicas(_sum(ops.square(deviations), weights, axes)) / divisor
    return deviations, mean, ops.where(count > 0, variance, 1), count


def _sum(x, weights, axes):
    return ops.sum(x if weights is None else x * weights, axes)


def _shape(x):
    """The shape of a tensor of TensorFlow for `tf.reshape`: numbers, where one extent at most is not known."""
    import tensorflow as tf

    known = x.shape.as_list()
    return tf.shape(x) if known.count(None) > 1 else [-1 if extent is None else extent for extent in known]


def _four_axes(x):
    """A shape of four axes, as the kernel takes them, for a tensor of more."""
    import tensorflow as tf

    known = x.shape.as_list()
    return [tf.shape(x)[0], -1, 1, known[-1]] if None in known[-3:] else [-1, *known[-3:]]


def _over_replicas(sums):
    if keras.backend.backend() != "tensorflow":
        return sums
    from mmv_tf.common import replicas

    return replicas.total(sums)


def _weights(x, dtype):
    """1 for what `present` says is there, 0 for the rest, of the rank of `x` [..., C]; None where all are there."""
    mask = _here.mask
    if mask is None:
        return None
    if not _leads(mask.shape, x.shape):
        rows, samples = ops.shape(x)[0], ops.shape(ops.reshape(mask, (-1,)))[0]
        if isinstance(rows, int) and isinstance(samples, int) and rows % samples:
            raise ValueError(f"present(): a mask of {tuple(mask.shape)} does not fit a batch of {rows} ({x.shape}).")
        mask = ops.repeat(ops.reshape(mask, (-1,)), rows // samples)
    return ops.cast(ops.reshape(mask, (*ops.shape(mask), *[1] * (len(x.shape) - len(mask.shape)))), dtype)


def _leads(mask, x) -> bool:
    """Whether the shape of a mask is that of the leading axes of `x`, by the sizes that are known."""
    known = [(m, n) for m, n in zip(mask, x, strict=False) if None not in (m, n)]
    return len(mask) < len(x) and bool(known) and all(m == n for m, n in known)


def _has_fused_kernel(x) -> bool:
    return keras.backend.backend() == "tensorflow" and x.dtype.name in ("float32", "bfloat16", "float16")


def _is_alone() -> bool:
    from mmv_tf.common import replicas

    return replicas.context() is None


def make(settings: Mapping[str, float | bool] | None, **kwargs) -> BatchNorm:
    """A `BatchNorm` as a network's setting `norm` asks for, with gin's settings for the rest.

    Args:
      settings: {setting of `BatchNorm`: value}; None: none.
      kwargs: of a Keras layer.

    Raises:
      ValueError: a setting that there is not, or a wrong value; names it.
    """
    for name in settings or {}:
        if name not in SETTINGS:
            raise ValueError(f"norm = {dict(settings)}: {name!r} is no setting of BatchNorm: {', '.join(SETTINGS)}.")
    return BatchNorm(**(settings or {}), **kwargs)
