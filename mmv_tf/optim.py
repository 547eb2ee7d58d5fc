"""Optimisers and learning-rate schedules: Keras' own, given names that gin can bind."""

import gin
import keras

for _optimizer in (keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.SGD):
    gin.external_configurable(_optimizer, module="keras.optimizers")


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
