"""Sets of records, and how they share a batch."""

import os
import re
from collections.abc import Sequence

import gin

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


def split_batch(batch_size: int, weights: Sequence[float]) -> list[int]:
    """Shares of a batch in proportion to weights, by largest remainder: they add up to batch_size."""
    exact = [batch_size * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: batch_size - sum(shares)]:
        shares[i] += 1
    return shares


def spread(counts: Sequence[int]) -> list[int]:
    """Each i counts[i] times, as evenly spread as can be, so that the parts of a batch (replicas) are mixed alike."""
    places = [((j + 0.5) / count, i) for i, count in enumerate(counts) for j in range(count)]
    return [i for _, i in sorted(places)]
