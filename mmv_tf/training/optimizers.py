"""Optimisers and learning-rate schedules: Keras' own and what other systems were trained with, by names for gin."""

from collections.abc import Callable, Mapping, Sequence
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
    total_steps: CountOrNone,
    peak: Positive = 0.002,
    warmup_steps: CountOrNone = 5000,
    floor: NotNegative = 0.0,
    of_batch: CountOrNone = 0,
) -> LearningRateSchedule:
    """Linear warm-up from 0 to `peak`, then half a period of a cosine down to `floor` at `total_steps`.

    The defaults are the paper's (docs/pretraining.md, "What is known of the recipe"): 0.002 after 5,000 steps.

    Args:
      of_batch: the batch that peak and floor are for; they grow in proportion to train.batch_size (SimCLR: 0.3 for
        256). 0: they are what they are, whatever the batch.
    Raises:
      ValueError: the warm-up is not shorter than the whole training, or the end is above the peak.
    """
    if floor > peak:
        raise ValueError(f"warmup_cosine: floor = {floor} is above peak = {peak}: the rate would rise to the end.")
    if total_steps > 0 and warmup_steps >= total_steps:
        raise ValueError(
            f"warmup_cosine: warmup_steps = {warmup_steps} leaves nothing of total_steps = {total_steps}; lower it."
        )
    made = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, total_steps - warmup_steps),
        alpha=floor / peak,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )
    made.of_batch = of_batch  # `mmv_tf.training.schedules.for_batch` takes it into account
    return made


@keras.saving.register_keras_serializable("mmv_tf")
class MultiStep(LearningRateSchedule):
    """The schedule behind `multi_step`."""

    def __init__(self, peak, milestones, factor, warmup, start, every):
        self.peak, self.milestones, self.factor = float(peak), tuple(milestones), factor
        self.warmup, self.start, self.every = warmup, float(start), every

    def __call__(self, step):
        place = ops.floor(ops.cast(step, "float32") / self.every)
        passed = sum(ops.cast(place >= milestone, "float32") for milestone in self.milestones)
        rate = self.peak * ops.power(self.factor, ops.cast(passed, "float32"))
        rising = self.start + (self.peak - self.start) * place / max(self.warmup, 1)
        return ops.where(place < self.warmup, rising, rate)

    def get_config(self):
        return {name: getattr(self, name) for name in ("peak", "milestones", "factor", "warmup", "start", "every")}


@configurable
def multi_step(
    peak: Positive,
    milestones: Sequence[Count] = (),
    factor: Positive = 0.1,
    warmup: CountOrNone = 0,
    start: NotNegative = 0.0,
    every: Count = 1,
    of_batch: CountOrNone = 0,
) -> LearningRateSchedule:
    """`peak` times `factor` for each milestone that is passed, after a linear warm-up from `start`.

    Args:
      milestones, warmup: in units of `every` steps.
      every: the rate stands still for so many steps, such as those of an epoch.
      of_batch: the batch that the peak is for, see `warmup_cosine`; `start` stays.
    Raises:
      ValueError: milestones that do not rise, or that lie in the warm-up.
    """
    if list(milestones) != sorted({*milestones}) or any(one <= warmup for one in milestones):
        raise ValueError(
            f"multi_step.milestones = {milestones} must rise, and lie behind multi_step.warmup = {warmup}."
        )
    made = MultiStep(peak, milestones, factor, warmup, start, every)
    made.of_batch = of_batch
    return made


@configurable
def gdt_warmup(
    base: Positive,
    multiplier: Positive,
    warmup_epochs: Count = 10,
    milestones: Sequence[Count] = (),
    factor: Positive = 0.1,
    steps_per_epoch: Count = 1,
    of_batch: CountOrNone = 0,
) -> LearningRateSchedule:
    """GDT's schedule: from `base` to `base` * `multiplier` over the first epochs, then `multi_step`, epoch by epoch.

    (facebookresearch/GDT, src/scheduler.py; its multiplier is the number of GPUs.)

    Args:
      milestones: epochs, counted from the first one after the warm-up has ended.
      of_batch: the batch that the multiplier is for: that of all GPUs together. See `warmup_cosine`.
    """
    later = [warmup_epochs + 1 + milestone for milestone in milestones]
    return multi_step(base * multiplier, later, factor, warmup_epochs, base, steps_per_epoch, of_batch)


@configurable
def with_l2(
    optimizer: Callable[[], keras.optimizers.Optimizer], decay: NotNegative, vectors: bool = True
) -> keras.optimizers.Optimizer:
    """An optimiser that adds `decay` times the weight to each gradient, which is the slope of decay / 2 * |w|^2.

    As PyTorch's Adam and SGD mean their weight_decay, where Keras' takes its own off beside the gradient. Like that it
    comes after clipping.

    Args:
      vectors: of biases and of the scales and offsets of norms, too, as PyTorch does; CVRL leaves them out.
    """
    made = optimizer()
    made.l2, made.l2_of_vectors = decay, vectors  # `mmv_tf.model.stepping` takes the step
    return made


@configurable
def with_rates(
    optimizer: Callable[[], keras.optimizers.Optimizer], heads: Mapping[str, Positive]
) -> keras.optimizers.Optimizer:
    """An optimiser whose learning rate is another one for some heads, such as the tenfold of BraVe's predictor.

    Args:
      heads: {head as the graph names it, 'z -> h': factor}.
    Raises (in the first step):
      ValueError: the model has no such head; names those that it has.
    """
    made = optimizer()
    made.rates_of_heads = dict(heads)  # `mmv_tf.model.stepping` takes the step
    return made


def _norm(x):
    # Not ops.norm: it takes no more than two axes.
    return ops.sqrt(ops.sum(ops.square(x)))


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
      joint_ratio: ratio = trust * |w| / |g + d * w|, as in SimCLR (google-research/simclr, tf2/lars_optimizer.py).
      classic: rate and ratio are inside the momentum, as above. If not, v <- momentum * v + g + d * w, and the ratio is
        that of the step, trust * |w| / |step|; `joint_ratio` has no say.
      nesterov: steps by momentum * v and the gradient's part of v once more, in place of v.
      name, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum: as of every Keras optimiser.
    """

    def __init__(
        self,
        learning_rate: Rate = 1.0,
        momentum: ShareBelowOne = 0.9,
        weight_decay: NotNegative = 0.0,
        trust: Positive = 0.001,
        joint_ratio: bool = False,
        classic: bool = True,
        nesterov: bool = False,
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
        self.joint_ratio, self.classic, self.nesterov = joint_ratio, classic, nesterov

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        gradient = ops.cast(gradient, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype)
        has_ratio = len(variable.shape) > 1
        slope = _norm(gradient)
        if has_ratio:
            gradient += self.decay * variable
        if self.classic:
            if has_ratio:
                slopes = _norm(gradient) if self.joint_ratio else slope + self.decay * _norm(variable)
                rate *= self._ratio(variable, slopes, slope > 0)
            gradient = rate * gradient
        velocity = self._velocities[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * velocity + gradient)
        step = self.momentum * velocity + gradient if self.nesterov else ops.convert_to_tensor(velocity)
        if not self.classic:
            step *= rate * (self._ratio(variable, _norm(step), True) if has_ratio else 1.0)
        self.assign_sub(variable, step)

    def _ratio(self, variable, slopes, is_sloping):
        size = _norm(variable)
        return ops.where((size > 0) & (slopes > 0) & is_sloping, self.trust * size / slopes, 1.0)

    def get_config(self):
        settings = {"momentum": self.momentum, "weight_decay": self.decay, "trust": self.trust}
        settings |= {"joint_ratio": self.joint_ratio, "classic": self.classic, "nesterov": self.nesterov}
        return {**super().get_config(), **settings}


external(keras.optimizers.Adam, "keras.optimizers", keras.optimizers.Optimizer, KerasOptimizer)
external(keras.optimizers.AdamW, "keras.optimizers", keras.optimizers.Optimizer, KerasOptimizer)
external(keras.optimizers.SGD, "keras.optimizers", keras.optimizers.Optimizer, KerasOptimizer)
external(keras.optimizers.Lamb, "keras.optimizers", keras.optimizers.Optimizer, KerasOptimizer)
external(LARS, "mmv_tf", LARS)
