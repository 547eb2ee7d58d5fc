"""References of a configuration, before anything is made: @name, @name() and %name."""

import inspect
import itertools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union, get_args, get_origin


class Macro(str):
    """The name of a macro."""

    def __repr__(self):
        return f"%{self}"


class Reference:
    """@name or @name().

    Attributes:
      text: as it is written.
      product: the class, or the type, that it makes; None if that is not known.
      evaluate: whether it stands for what is made ('@name()') or for what makes it ('@name'); None: for anything.
    """

    def __init__(self, text: str, product, evaluate: bool | None):
        self.text, self.product, self.evaluate = text, product, evaluate

    def __repr__(self):
        return self.text

    @property
    def scopes(self) -> list[str]:
        """The scopes in which it is made."""
        return self.text.strip("@()").split("/")[:-1]

    @property
    def name(self) -> str:
        """What it refers to."""
        return self.text.strip("@()").rpartition("/")[2]

    def fits(self, wanted) -> bool:
        """Whether it can stand where the annotation `wanted` does."""
        kind, parts = get_origin(wanted), get_args(wanted)
        if self.evaluate is None or wanted in (Any, object):
            return True
        if kind in (Union, types.UnionType):
            return any(map(self.fits, parts))
        if self.evaluate:
            return kind is not Callable and self._makes(wanted) or self.product is None
        return kind is Callable and self._makes(parts[-1])

    def _makes(self, wanted) -> bool:
        if self.product is None or self.product is wanted or wanted in (Any, object):
            return True
        made, asked = (get_origin(one) or one for one in (self.product, wanted))  # dict of dict[str, Layer]
        return inspect.isclass(made) and inspect.isclass(asked) and issubclass(made, asked)


def without_macros(value, macros: Mapping[str, Any]):
    """`value` with what its macros stand for, also inside lists and dicts; one that is not known may be anything."""
    if isinstance(value, Macro):
        others = {name: one for name, one in macros.items() if name != value}  # so that no circle goes on for ever
        return without_macros(macros[value], others) if value in macros else Reference(repr(value), None, None)
    if isinstance(value, dict):
        return {without_macros(k, macros): without_macros(v, macros) for k, v in value.items()}
    return type(value)(without_macros(one, macros) for one in value) if isinstance(value, (list, tuple)) else value


def within(value) -> Iterator[Macro | Reference]:
    """The macros and references of a value, also inside of lists and dicts."""
    if isinstance(value, (Macro, Reference)):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for one in itertools.chain(*value.items()) if isinstance(value, dict) else value:
            yield from within(one)
