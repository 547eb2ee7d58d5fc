"""Optimisers and learning-rate schedules: Keras' own, and LARS, given names that gin can bind."""

from collections.abc import Callable
from typing import Annotated, TypedDict

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from mmv_tf.common.configurable import checked, configurable, external
from mmv_tf.common.values import Count, CountOrNone, NotNegative, Positive, Range, Share, ShareBelowOne

Rate = NotNegative | LearningRateSchedule | Callable[[], float]


class KerasOptimizer(TypedDict):
    """What Keras' optimisers take; their own signatures do not say."""

    learning_rate: Rate
    momentum: ShareBelowOne
    nesterov: bool
    beta_1: ShareBelowOne
    beta_2: ShareBelowOne
    epsilon: Positive
    amsgrad: bool
    weight_decay: NotNegative | None
    clipnorm: Positive | None
    clipvalue: Positive | None
    global_clipnorm: Positive | None
    use_ema: bool
    ema_momentum: Share
    ema_overwrite_frequency: Count | None
    loss_scale_factor: Positive | None
    gradient_accumulation_steps: Annotated[int, Range(least=2)] | None
    name: str | None


@configurable
def warmup_cosine(
    total_steps: CountOrNone, peak: Positive = 0.002, warmup_steps: CountOrNone = 5000, floor: NotNegative = 0.0
) -> LearningRateSchedule:
    """Linear warm-up from 0 to `peak`, then half a period of a cosine down to `floor` at `total_steps`.

    The defaults are the paper's (docs/pretraining.md, "What is known of the recipe"): 0.002 after 5,000 steps.

    Raises:
      ValueError: the warm-up is not shorter than the whole training, or the end is above the peak.
    """
    if floor > peak:
        raise ValueError(f"warmup_cosine: floor = {floor} is above peak = {peak}: the rate would rise to the end.")
    if total_steps > 0 and warmup_steps >= total_steps:
        raise ValueError(
            f"warmup_cosine: warmup_steps = {warmup_steps} leaves nothing of total_steps = {total_steps}; lower it."
        )
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, total_steps - warmup_steps),
        alpha=floor / peak,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )


@checked
class LARS(keras.optimizers.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888, algorithm 1), for large batches.

    For a weight w with gradient g and momentum v, with d = weight_decay:

        v <- momentum * v + learning_rate * ratio * (g + d * w),   ratio = trust * |w| / (|g| + d * |w|)
        w <- w - v

    The ratio is 1 where w or g is zero. Biases and the scales and offsets of norms, which are the vectors among the
    variables, have neither ratio nor decay, as in SimCLR (arXiv 2002.05709) and BYOL (arXiv 2006.07733).

    Args:
      learning_rate: a number or a schedule; much larger than Adam's, 0.2 to 5.
      momentum: 0 is plain SGD with ratios.
      weight_decay: d, a part of the gradient (in Keras' own optimisers it acts beside the gradient).
      trust: factor of the ratio.
      name, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum: as of every Keras optimiser.
    """

    def __init__(
        self,
        learning_rate: Rate = 1.0,
        momentum: ShareBelowOne = 0.9,
        weight_decay: NotNegative = 0.0,
        trust: Positive = 0.001,
        name: str = "lars",
        clipnorm: Positive | None = None,
        clipvalue: Positive | None = None,
        global_clipnorm: Positive | None = None,
        use_ema: bool = False,
        ema_momentum: Share = 0.99,
        **kwargs,
    ):
        super().__init__(
            learning_rate=float(learning_rate) if isinstance(learning_rate, int) else learning_rate,
            name=name,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            **kwargs,
        )
        # Not `weight_decay`: by that name the base class would take it off the weights a second time.
        self.momentum, self.decay, self.trust = momentum, weight_decay, trust

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        gradient = ops.cast(gradient, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype)
        if len(variable.shape) > 1:
            size, slope = ops.norm(variable), ops.norm(gradient)
            ratio = self.trust * size / (slope + self.decay * size)
            rate *= ops.where((size > 0) & (slope > 0), ratio, 1.0)
            gradient += self.decay * variable
        velocity = self._velocities[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * velocity + rate * gradient)
        self.assign_sub(variable, velocity)

    def get_config(self):
        settings = {"momentum": self.momentum, "weight_decay": self.decay, "trust": self.trust}
        return {**super().get_config(), **settings}


external(keras.optimizers.Adam, "keras.optimizers", keras.optimizers.Optimizer, KerasOptimizer)
external(keras.optimizers.AdamW, "keras.optimizers", keras.optimizers.Optimizer, KerasOptimizer)
external(keras.optimizers.SGD, "keras.optimizers", keras.optimizers.Optimizer, KerasOptimizer)
external(keras.optimizers.Lamb, "keras.optimizers", keras.optimizers.Optimizer, KerasOptimizer)
external(LARS, "mmv_tf", LARS)
