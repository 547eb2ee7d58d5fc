"""A learning-rate schedule beside the run that it is for."""

import keras
import pytest

from mmv_tf.training import schedules
from mmv_tf.training.optimizers import LARS, warmup_cosine

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
