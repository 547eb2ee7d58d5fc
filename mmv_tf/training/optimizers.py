"""Optimisers and learning-rate schedules: Keras' own, and LARS, given names that gin can bind."""

import inspect

import gin
import keras
from keras import ops


def _give_to_gin(optimizer, module: str) -> None:
    # Every optimiser takes **kwargs, so gin would let any name pass until it is made: it may bind those spelt out.
    named = [p.name for p in inspect.signature(optimizer).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    gin.external_configurable(optimizer, module=module, allowlist=named)


@gin.configurable
def warmup_cosine(total_steps: int, peak: float = 0.002, warmup_steps: int = 5000, floor: float = 0.0):
    """Linear warm-up from 0 to `peak`, then half a period of a cosine down to `floor` at `total_steps`.

    The defaults are the paper's (docs/pretraining.md, "What is known of the recipe"): 0.002 after 5,000 steps.

    Raises:
      ValueError: the warm-up is not shorter than the whole training.
    """
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
        learning_rate=1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        name: str = "lars",
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        **kwargs,
    ):
        for setting, value, fits in (
            ("momentum", momentum, 0 <= momentum < 1),
            ("weight_decay", weight_decay, weight_decay >= 0),
            ("trust", trust, trust > 0),
        ):
            if not fits:
                raise ValueError(f"LARS.{setting} = {value} is out of range.")
        super().__init__(
            learning_rate=learning_rate,
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


for _name in ("Adam", "AdamW", "SGD", "Lamb"):
    _give_to_gin(getattr(keras.optimizers, _name), "keras.optimizers")
_give_to_gin(LARS, "mmv_tf")
