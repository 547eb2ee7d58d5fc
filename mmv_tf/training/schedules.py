"""The schedule of a learning rate beside the run that it is for."""

import keras
from keras.optimizers import schedules


def for_batch(optimizer: keras.optimizers.Optimizer, batch_size: int) -> keras.optimizers.Optimizer:
    """The optimiser of a run of such global batches: a schedule whose peak is for another one (`of_batch`) grows or
    shrinks with it, once."""
    schedule = getattr(optimizer, "_learning_rate", None)
    if of_batch := getattr(schedule, "of_batch", 0):
        name = "warmup_target" if isinstance(schedule, schedules.CosineDecay) else "peak"
        setattr(schedule, name, getattr(schedule, name) * batch_size / of_batch)
        schedule.of_batch = batch_size
    return optimizer


def note(optimizer: keras.optimizers.Optimizer, steps: int) -> str:
    """One line if the schedule of the learning rate and a run of `steps` steps do not end together, otherwise ''.

    It is no error: a long schedule may be tried for a few steps, and a run may go on after the rate has come to rest.
    A schedule without an end (a constant, an exponential decay) fits every run.
    """
    schedule = getattr(optimizer, "_learning_rate", None)
    end = _end(schedule)
    if not steps or end in (None, steps):
        return ""
    last, before, peak = (float(schedule(step)) for step in (steps, steps - 1, getattr(schedule, "warmup_steps", 0)))
    if steps < end:
        way = "still rises" if last > before else "still falls"
        what = f"where the run stops the rate {way} ({last:.2g}; its peak is {peak:.2g})"
    else:
        what = f"the last {steps - end:,} steps have the rate {last:.2g}"
    return (
        f"the schedule of the learning rate ends at step {end:,} (warmup_cosine.total_steps), the run at step "
        f"{steps:,} (train.steps): {what}; STEPS sets both"
    )


def _end(schedule) -> int | None:
    """The step from which on the rate stays as it is; None if there is none."""
    if isinstance(schedule, schedules.CosineDecay):
        return int(schedule.decay_steps + (schedule.warmup_steps or 0))
    if isinstance(schedule, schedules.PolynomialDecay) and not schedule.cycle:
        return int(schedule.decay_steps)
    return None
