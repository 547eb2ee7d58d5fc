"""The one batch normalisation of this library: cross-replica, with the moving averages of the released networks."""

import keras
from keras import ops

from mmv_tf.configurable import configurable


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
    normalises with its moving averages also when `training=True`, and leaves them alone.

    Args:
      decay: weight of the past in the moving averages.
      epsilon: added to the variance.
    """

    def __init__(self, decay: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= decay < 1:
            raise ValueError(f"BatchNorm.decay must be in [0, 1), not {decay}.")
        self.decay = decay
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones", autocast=False)
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
            outputs, mean, variance = self._normalise_by_batch(inputs)
            self._update(mean, variance)
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
        if _replicas() == 1 and len(x.shape) >= 4 and _has_fused_kernel(x):
            return self._fused(x)
        x = ops.cast(x, self.variable_dtype)
        mean, variance = moments(x)
        multiplier = self.scale * ops.rsqrt(variance + self.epsilon)
        return (x - mean) * multiplier + self.offset, mean, variance

    def _fused(self, x, mean=None, variance=None):
        """Outputs, mean and variance by one kernel; with the statistics of `x` unless others are given."""
        # On a CPU four times as fast in training as separate operations, forward and backward, twice at inference.
        import tensorflow as tf

        shape = tf.shape(x)
        rows, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(x, [shape[0], -1, 1, x.shape[-1]]),  # the kernel takes four axes
            scale=ops.convert_to_tensor(self.scale),
            offset=ops.convert_to_tensor(self.offset),
            mean=tf.zeros([0]) if mean is None else ops.convert_to_tensor(mean),
            variance=tf.zeros([0]) if variance is None else ops.convert_to_tensor(variance),
            epsilon=self.epsilon,
            is_training=mean is None,
        )
        count = tf.cast(tf.reduce_prod(shape[:-1]), tf.float32)
        variance = unbiased * ((count - 1) / count)
        outputs = tf.reshape(rows, shape)
        outputs.set_shape(x.shape)
        return outputs, mean, variance

    def _update(self, mean, variance):
        counter = self.counter + 1
        decay = ops.cast(self.decay, self.counter.dtype)
        rate = (1 - decay) / (1 - ops.power(decay, counter))
        self.counter.assign(counter)
        self.moving_mean.assign(self.moving_mean + (ops.stop_gradient(mean) - self.moving_mean) * rate)
        self.moving_variance.assign(self.moving_variance + (ops.stop_gradient(variance) - self.moving_variance) * rate)

    def compute_output_shape(self, input_shape):
        return input_shape


def moments(x):
    """Mean [C] and biased variance [C] of `x` [..., C] over all leading axes and over the replicas of the strategy.

    Must be called in a replica context when there are several replicas. The variance is the mean of squared distances
    from the global mean: the reference's E[x^2] - E[x]^2 loses digits where the mean is large beside the spread (the
    heads), and then two replicas do not agree with one.
    """
    axes = list(range(len(x.shape) - 1))
    if _replicas() == 1:
        return ops.moments(x, axes)
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), x.dtype)[tf.newaxis]  # replicas may hold unequal shares
    sums = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.concat([tf.reduce_sum(x, axes), count], 0))
    mean = sums[:-1] / sums[-1]
    squares = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(tf.square(x - mean), axes))
    return mean, squares / sums[-1]


def _replicas() -> int:
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    # In a cross-replica context (a model built inside strategy.scope()) there is one batch, not one a replica.
    return tf.distribute.get_strategy().num_replicas_in_sync if tf.distribute.get_replica_context() else 1


def _has_fused_kernel(x) -> bool:
    return keras.backend.backend() == "tensorflow" and x.dtype.name in ("float32", "bfloat16", "float16")
