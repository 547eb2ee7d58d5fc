"""A learning-rate schedule beside the run that it is for."""

import keras
import pytest

from mmv_tf.training import schedules
from mmv_tf.training.optimizers import LARS, gdt_warmup, multi_step, warmup_cosine

Adam, SGD = keras.optimizers.Adam, keras.optimizers.SGD


def test_a_schedule_that_ends_with_the_run_needs_no_word():
    assert schedules.note(Adam(warmup_cosine(400, warmup_steps=40)), 400) == ""
    assert schedules.note(LARS(warmup_cosine(400, 1.0, 0)), 400) == ""
    assert schedules.note(SGD(keras.optimizers.schedules.PolynomialDecay(0.1, 50)), 50) == ""


def test_a_rate_that_still_rises_where_the_run_stops():
    line = schedules.note(Adam(warmup_cosine(500_000)), 400)
    assert line == (
        "the schedule of the learning rate ends at step 500,000 (warmup_cosine.total_steps), the run at step 400 "
        "(train.steps): where the run stops the rate still rises (0.00016; its peak is 0.002); STEPS sets both"
    )


def test_a_rate_that_still_falls_where_the_run_stops():
    line = schedules.note(LARS(warmup_cosine(1000, peak=0.5, warmup_steps=10)), 505)
    assert "at step 1,000 " in line and "at step 505 " in line and "still falls (0.25; its peak is 0.5)" in line


def test_a_run_that_outlasts_its_schedule():
    line = schedules.note(Adam(warmup_cosine(400, warmup_steps=40, floor=1e-4)), 500)
    assert "the last 100 steps have the rate 0.0001" in line
    line = schedules.note(SGD(keras.optimizers.schedules.PolynomialDecay(0.1, 50, end_learning_rate=0.0)), 60)
    assert "ends at step 50 " in line and "the last 10 steps have the rate 0" in line


@pytest.mark.parametrize(
    "rate", [0.01, keras.optimizers.schedules.ExponentialDecay(0.1, 50, 0.9), lambda: 0.01], ids=type
)
def test_what_has_no_end_fits_every_run(rate):
    assert schedules.note(Adam(rate), 400) == ""


def test_a_floor_above_the_peak_is_refused():
    with pytest.raises(ValueError, match="floor = 0.5 is above peak = 0.002"):
        warmup_cosine(400, warmup_steps=40, floor=0.5)


def test_a_peak_that_is_for_a_batch_grows_with_it():
    of_simclr = schedules.for_batch(LARS(warmup_cosine(100, 0.3, 10, floor=0.03, of_batch=256)), 4096)._learning_rate
    assert [float(of_simclr(step)) for step in (5, 10, 100)] == pytest.approx([2.4, 4.8, 0.48])
    steps = schedules.for_batch(SGD(multi_step(0.1, (4,), warmup=2, start=0.01, of_batch=8)), 4)._learning_rate
    assert [float(steps(step)) for step in (0, 2, 4)] == pytest.approx([0.01, 0.05, 0.005])
    of_gdt = SGD(gdt_warmup(0.01, 64.0, 10, of_batch=512))
    for _ in range(2):  # more than once does nothing more
        schedules.for_batch(of_gdt, 64)
    assert [float(of_gdt._learning_rate(step)) for step in (0, 10)] == pytest.approx([0.01, 0.08])
    assert schedules.note(LARS(of_simclr), 100) == ""


@pytest.mark.parametrize("rate", [0.01, warmup_cosine(100, 0.01, 0), lambda: 0.01], ids=type)
def test_every_other_rate_is_the_same_for_every_batch(rate):
    made = schedules.for_batch(Adam(rate), 64)
    rate = made._learning_rate
    assert float(
        rate(0) if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else made.learning_rate
    ) == pytest.approx(0.01)
