"""Sets of records, and how they share a batch."""

import fractions
import math
import os
import re
from collections.abc import Sequence

import gin
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive, Strings


@configurable
class Source:
    """A set of records, and its part in the mixture.

    Args:
      pattern: glob of shards such as 'records/train-*', or several; remote paths too.
      weight: share of the batch, relative to the other sources.
      name: what logs and errors call it. If not given: the scope in gin (`@audioset/Source()` is 'audioset'), else the
        folder of the pattern, else 'records'.

    Raises:
      ValueError: no pattern (says which gin macro to give), a weight that is not positive, or a '/' in the name.
    """

    def __init__(self, pattern: Strings, weight: Positive = 1.0, name: str | None = None):
        self.pattern, self.weight, self.has_given_name = pattern, weight, name is not None
        self.name = (gin.current_scope()[-1:] or [_folder(pattern)])[0] if name is None else name
        if not re.fullmatch(r"[\w.+-]+", self.name):
            raise ValueError(
                f"Source.name = {name!r} must be letters, digits and . _ + - only: it is a part of log names."
            )
        if not pattern:
            raise ValueError(f"the source {self.name!r} has no pattern of records: give {_how_to_give_a_pattern()}")


def _folder(pattern):
    first = pattern if isinstance(pattern, str) else next(iter(pattern), "")
    name = os.path.basename(os.path.dirname(first))
    return re.sub(r"[^\w.+-]+", "", name) or "records"


def _how_to_give_a_pattern():
    """--gin_param for the pattern of the Source that gin is making: by the macro that its file uses, if it does."""
    scope = gin.current_scope()
    for key in ("/".join([*scope, "Source.pattern"]), "Source.pattern"):
        try:
            bound = repr(gin.query_parameter(key))
        except ValueError:  # which gin raises where nothing is bound
            continue
        if bound.startswith("%"):
            folder = scope[-1] if scope else "records"
            return f"--gin_param=\"{bound[1:]}='{folder}/train-*'\""
    return "Source.pattern, as in 'records/train-*'"


def distinct_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """The names of sources; where two names that nobody gave are the same, a number is added.

    Raises:
      ValueError: the same name was given twice.
    """
    names = []
    given = [source.name for source in sources if source.has_given_name]
    for name in given:
        if given.count(name) > 1:
            raise ValueError(f"two sources are called {name!r}: give each a Source.name of its own")
    for source in sources:
        name, number = source.name, 1
        while name in names or (name in given and not source.has_given_name):
            number += 1
            name = f"{source.name}_{number}"
        names.append(name)
    return tuple(names)


class Shares:
    """How the positions of an endless stream are shared by sources: exactly over the run, evenly at all times.

    The first source takes its share of the positions, as evenly spread as can be; the second its share of the rest, and
    so on. Which source has a position, and how many positions it had before, is arithmetic on the position alone. Of
    any stretch of positions each source has its share, to within two clips or so.

    Args:
      weights: positive numbers. Decimal fractions count as they are written: .95 and .05 are 19 and 1.
    """

    _MOST = 2**31  # the sum of the parts: products of two such numbers are still int64

    def __init__(self, weights: Sequence[float]):
        exact = [fractions.Fraction(str(float(weight))) for weight in weights]
        total = sum(exact)
        whole = math.lcm(*((weight / total).denominator for weight in exact))
        if whole > self._MOST // 2:  # such as those of pi; then to nine digits
            whole = self._MOST // 2
        self.parts = tuple(max(1, round(weight / total * whole)) for weight in exact)

    def at(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Positions [n] to (source, how many positions the source had before), all int64 [n]."""
        source = tf.fill(tf.shape(position), tf.constant(len(self.parts) - 1, tf.int64))
        place, left, is_open = position, sum(self.parts), tf.ones_like(position, tf.bool)
        for number, part in enumerate(self.parts[:-1]):
            before, after = (_rounded_share(place + more, part, left) for more in (0, 1))
            is_mine = is_open & (after > before)
            source = tf.where(is_mine, tf.constant(number, tf.int64), source)
            is_open &= ~is_mine
            # From here on, a position is counted among those that are left to the sources after this one.
            place, left = tf.where(is_mine, before, tf.where(is_open, place - before, place)), left - part
        return source, place

    def of(self, count: float) -> list[float]:
        """The mean shares of `count` positions."""
        return [count * part / sum(self.parts) for part in self.parts]


def _rounded_share(count, part, whole):
    """count * part / whole to the nearest integer, without products beyond int64."""
    return count // whole * part + (count % whole * part + whole // 2) // whole
