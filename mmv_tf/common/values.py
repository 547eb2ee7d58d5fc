"""Types and ranges of settings, which stand beside a parameter, and what is wrong with a value, in words.

    def __init__(self, stride: Count = 1024, log_form: Literal["log1p_scaled", "log_offset"] = "log1p_scaled"):

Annotations mean what they say: True is no number, a string is no list, 2 is a number but 2.0 no whole one, and NaN and
infinity are no numbers.
"""

import dataclasses
import inspect
import math
import numbers
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mmv_tf.common.references import Reference

_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string",
    os.PathLike: "a path",
    type(None): "None",
    object: "anything",
}
_LONGEST = 200  # letters of a value in a message


@dataclasses.dataclass(frozen=True)
class Range:
    """Limits of a number: `least` and `most` belong to it, `above` and `below` do not."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self):
        names = {"least": "at least", "most": "at most", "above": "above", "below": "below"}
        limits = [f"{names[name]} {value}" for name, value in vars(self).items() if value is not None]
        return f"{'' if limits[0].startswith(('above', 'below')) else 'of '}{' and '.join(limits)}"


@dataclasses.dataclass(frozen=True)
class Written:
    """Beside a class: an instance, or what it is made of: ('video', 'va', {'hidden': (512,)}) for a Head."""


Count = Annotated[int, Range(least=1)]
CountOrNone = Annotated[int, Range(least=0)]  # where 0 means none
Seed = Annotated[int, Range(least=0, most=2**32 - 1)]  # what NumPy takes
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
ShareBelowOne = Annotated[float, Range(least=0, below=1)]
Strings = str | Sequence[str]


def shown(value) -> str:
    """A value in a message: one line, the middle of a long one left out."""
    text = " ".join(repr(value).split())
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


def listed(names: Iterable[str], most: int) -> str:
    """The first `most` names in a message, and how many more there are: 'a, b and 3 more'."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def fault(value, wanted) -> str:
    """What is wrong with `value` where the annotation `wanted` stands: 'must be ...', or '' if nothing is."""
    if wanted in (Any, object, inspect.Parameter.empty) or isinstance(wanted, str):
        return ""
    if isinstance(value, Reference):
        return "" if value.fits(wanted) else _must_be(value, wanted)
    kind, parts = get_origin(wanted), get_args(wanted)
    if kind is Annotated:
        if isinstance(parts[1], Written):
            return _fault_in_written(value, wanted, parts[0])
        wrong = fault(value, parts[0]) or not (_is_tensor(value) or all(c.holds(value) for c in parts[1:]))
        return _must_be(value, wanted) if wrong else ""
    if kind in (Union, types.UnionType):
        faults = [fault(value, part) for part in parts]
        # Of several faults the one that points into the value says most.
        deep = [text for text in faults if not text.startswith("must be")]
        return "" if "" in faults else (deep or [_must_be(value, wanted)])[0]
    if kind is Literal:
        # The types too: True is not 1, and 18.0 is not 18.
        return "" if (type(value), value) in [(type(one), one) for one in parts] else _must_be(value, wanted)
    if kind in (Sequence, tuple, list):
        return _fault_in_list(value, wanted, parts)
    if kind is Mapping:
        if not isinstance(value, Mapping):
            return _must_be(value, wanted)
        inner = ((shown(k), fault(k, parts[0]) or fault(v, parts[1]), v) for k, v in value.items())
        return next((f"{key}, {shown(v)}, {text}" for key, text, v in inner if text), "")
    return "" if _is(value, wanted, kind, parts) else _must_be(value, wanted)


def _must_be(value, wanted) -> str:
    text = f"must be {words(wanted)}"
    beyond = isinstance(value, float) and not math.isfinite(value)  # infinity is above 0, and no number here
    return text.replace("a number", "a finite number") if beyond else text


def words(wanted) -> str:
    """An annotation in words: 'a whole number of at least 1'."""
    kind, parts = get_origin(wanted), get_args(wanted)
    if wanted in _WORDS or wanted is None:
        return _WORDS[wanted or type(None)]
    if kind is Annotated:
        if isinstance(parts[1], Written):
            return f"a list of {', '.join(inspect.signature(parts[0]).parameters)} (the later ones in a dict)"
        return " ".join([words(parts[0]), *map(str, parts[1:])])
    if kind in (Union, types.UnionType, Literal):
        alternatives = [repr(part) if kind is Literal else words(part) for part in parts]
        return " or ".join([", ".join(alternatives[:-1]), alternatives[-1]] if parts[1:] else alternatives)
    if kind is tuple and parts[1:] != (...,):
        return f"a list of {len(parts)}: {' and '.join(f'({words(part)})' for part in parts)}"
    if kind in (Sequence, tuple, list):
        return f"a list, each item {words(parts[0])}"
    if kind is Mapping:
        return f"a dict, each value {words(parts[1])}"
    if kind is Callable:
        return f"what makes {_a(parts[-1])} (@NAME, without parentheses)"
    return f"{_a(wanted)} (@NAME(), with parentheses)"


def _a(cls) -> str:
    name = cls.__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _is(value, wanted, kind, parts) -> bool:
    """Whether `value` is of a type that has no parts of interest."""
    if wanted is bool:
        return isinstance(value, bool) or type(value).__name__ == "bool"  # NumPy's
    if wanted is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if wanted is float:
        if _is_tensor(value):
            return True
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and _is_finite(value)
    if kind is Callable:
        other = inspect.isclass(value) and inspect.isclass(parts[-1]) and not issubclass(value, parts[-1])
        return callable(value) and not other
    return isinstance(value, type(None) if wanted is None else wanted)


def _is_finite(value) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _is_tensor(value) -> bool:
    """A scalar that code gives and no configuration can; what it holds may not be known yet."""
    return not isinstance(value, numbers.Number) and hasattr(value, "dtype") and getattr(value, "shape", None) == ()


def _fault_in_list(value, wanted, parts) -> str:
    of_any_length = get_origin(wanted) is not tuple or parts[1:] == (...,)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        return _must_be(value, wanted)
    if not of_any_length and len(value) != len(parts):
        return _must_be(value, wanted)
    kinds = [parts[0]] * len(value) if of_any_length else parts
    faults = [fault(item, kind) for item, kind in zip(value, kinds, strict=True)]
    return next((f"item {i + 1}, {shown(value[i])}, {text}" for i, text in enumerate(faults) if text), "")


def _fault_in_written(value, wanted, cls) -> str:
    if isinstance(value, cls):
        return ""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        return _must_be(value, wanted)
    parameters = inspect.signature(cls).parameters
    given = dict(zip(parameters, (part for part in value if not isinstance(part, Mapping)), strict=False))
    for part in value:
        given |= part if isinstance(part, Mapping) else {}
    for name, one in given.items():
        if name in parameters and (text := fault(one, parameters[name].annotation)):
            return f"{name} = {shown(one)}: {text}"
    return ""
