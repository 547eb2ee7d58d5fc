"""Times at which a view begins: pure functions of the record's length, of the clip's own start, and of a seed.

They are counted in stored frames; where a record has no frames, in as many as its sound would have.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import NotNegative, Positive


class Moment(NamedTuple):
    """What a time is drawn from.

    Attributes:
      frames: scalar int32, stored frames of the record.
      rate: scalar float32, stored frames a second.
      first: scalar int32, where the clip begins that the view's time refers to.
      first_span, span: scalar int32, stored frames that this clip and the view are long.
      reach: scalar int32, stored frames from the first to the last that either of them takes.
    """

    frames: tf.Tensor
    rate: tf.Tensor
    first: tf.Tensor
    first_span: tf.Tensor
    span: tf.Tensor
    reach: tf.Tensor

    @property
    def last(self) -> tf.Tensor:
        """The last start that leaves room for the view; 0 in too short a record, which is repeated."""
        return tf.maximum(0, self.frames - self.span)


@dataclasses.dataclass(frozen=True)
class Time:
    """A way to draw where a view begins.

    Attributes:
      draw: (Moment, seed [2] integer) -> scalar int32, the first frame of the view.
      moves_clip: `draw` gives (first frame of the clip itself, first frame of the view) in place of that.
      needs: Moment -> scalar int32, stored frames that the record must have; None: any record will do.
    """

    draw: Callable
    moves_clip: bool = False
    needs: Callable | None = None


def _uniform(seed, low, high):
    """A whole number from `low` to `high`, both included."""
    return tf.random.stateless_uniform([], seed, minval=low, maxval=tf.maximum(low, high) + 1, dtype=tf.int32)


@configurable
def same() -> Time:
    """With the clip that it refers to."""
    return Time(lambda moment, seed: moment.first)


@configurable
def anywhere() -> Time:
    """Uniform over the record, wherever the clip is that it refers to (GDT's shift, arXiv 2003.04298)."""
    return Time(lambda moment, seed: _uniform(seed, 0, moment.last))


@configurable
def nearby(seconds: Positive = 10.0) -> Time:
    """Uniform over the starts that are at most so many seconds before or after that of the clip (arXiv 1911.05894)."""

    def draw(moment, seed):
        most = tf.cast(seconds * moment.rate + 1e-3, tf.int32)
        earliest = tf.minimum(tf.maximum(0, moment.first - most), moment.last)
        return _uniform(seed, earliest, tf.minimum(moment.last, moment.first + most))

    return Time(draw)


@configurable
def within() -> Time:
    """Uniform over the starts at which the shorter of clip and view lies inside the longer, as far as there is room.

    A short clip in the middle of longer sound (AVID, arXiv 2004.12943).
    """

    def draw(moment, seed):
        room = moment.first_span - moment.span
        earliest = tf.clip_by_value(moment.first + tf.minimum(room, 0), 0, moment.last)
        return _uniform(seed, earliest, tf.minimum(moment.last, moment.first + tf.maximum(room, 0)))

    return Time(draw)


@configurable
def apart(least: NotNegative = 0.5) -> Time:
    """Uniform over the starts that leave at least so many seconds between clip and view (AVTS, arXiv 1807.00230).

    Where there is no room on either side of the clip, it moves to that end of the record which is nearer.

    Raises (while reading):
      tf.errors.InvalidArgumentError: a record that cannot hold both; names it, and this setting.
    """

    def gap(moment):
        return tf.cast(tf.math.ceil(least * moment.rate - 1e-3), tf.int32)

    def draw(moment, seed):
        def room(first):  # starts before the clip, starts after it
            after = first + moment.first_span + gap(moment)
            return tf.maximum(0, first - gap(moment) - moment.span + 1), tf.maximum(0, moment.last + 1 - after), after

        before, behind, _ = room(moment.first)
        end = tf.maximum(0, moment.frames - moment.first_span)
        first = tf.where(before + behind > 0, moment.first, tf.where(2 * moment.first < end, 0, end))
        before, behind, after = room(first)
        place = _uniform(seed, 0, before + behind - 1)
        return first, tf.where(place < before, place, after + place - before)

    return Time(draw, True, lambda moment: moment.first_span + gap(moment) + moment.span)


@configurable
def decreasing_gap() -> Time:
    """The two starts of CVRL (arXiv 2008.03800): the likelihood of a gap falls linearly to 0 at the longest one.

    The clip itself is drawn anew with the view: the earlier of the two uniformly, and which one that is by a coin. In a
    record that is too short for one clip both are uniform over all frames, and go round (tensorflow/models,
    official/projects/video_ssl/ops/video_ssl_preprocess_ops.py, `sample_ssl_sequence`).
    """

    def draw(moment, seed):
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
        most = moment.frames - moment.reach
        is_short = (most <= 0) | (moment.reach <= 0)  # clips of one frame are free of each other, too
        gap = gap_of(tf.random.stateless_uniform([], seeds[0]), most)
        early = _uniform(seeds[1], 0, most - gap - 1)
        is_early = tf.random.stateless_uniform([], seeds[2]) < 0.5
        drawn = tf.where(is_early, early, early + gap), tf.where(is_early, early + gap, early)
        free = [_uniform(one, 0, moment.frames - 1) for one in seeds[1:3]]
        return tuple(tf.where(is_short, one, other) for one, other in zip(free, drawn, strict=True))

    return Time(draw, True)


def gap_of(u: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """The gap of two starts, scalar int32, from a uniform draw in [0, 1): the greatest k with P(gap <= k) <= u.

    P(gap <= k) = 2 k / most - k^2 / most^2, with all gaps below `most`, scalar int32.
    """
    most = tf.cast(most, tf.float32)
    k = tf.range(1.0, tf.maximum(most, 1.0))
    return tf.reduce_sum(tf.cast(~(-tf.square(k) / tf.square(most) + 2 * k / most > u), tf.int32))
