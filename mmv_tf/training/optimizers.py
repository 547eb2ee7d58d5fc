"""Optimisers and learning-rate schedules: Keras' own, and LARS, given names that gin can bind."""

import inspect

import gin
import keras

from mmv_tf.training.lars import LARS


def _give_to_gin(optimizer, module: str) -> None:
    # Every optimiser takes **kwargs, so gin would let any name pass until it is made: it may bind those spelt out.
    named = [p.name for p in inspect.signature(optimizer).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    gin.external_configurable(optimizer, module=module, allowlist=named)


for _name in ("Adam", "AdamW", "SGD", "Lamb"):
    _give_to_gin(getattr(keras.optimizers, _name), "keras.optimizers")
_give_to_gin(LARS, "mmv_tf")


@gin.configurable
def warmup_cosine(total_steps: int, peak: float = 0.002, warmup_steps: int = 5000, floor: float = 0.0):
    """Linear warm-up from 0 to `peak`, then half a period of a cosine down to `floor` at `total_steps`.

    The defaults are the paper's (facts in README, "What is known of the recipe"): 0.002 after 5,000 steps.

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
