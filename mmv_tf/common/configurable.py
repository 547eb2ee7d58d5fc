"""Parts that gin can configure, and that look at what they are given: the same line from gin and from Python."""

import functools
import inspect
from typing import Literal, TypedDict

import gin

from mmv_tf.common import values


class LayerSettings(TypedDict):
    """What every layer takes beside its own settings."""

    dtype: Literal["float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"] | None
    trainable: bool


def checked(target, whole: bool = False):
    """A class or function that refuses arguments which are not what its annotations say.

    Args:
      target: is changed, if it is a class.
      whole: refuse a call without an argument that is needed, too, in the same words.

    Raises (when it is called):
      ValueError: one line that names parameter and value, and says what is wanted.
    """
    function = target.__init__ if inspect.isclass(target) else target
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    wanted = {one.name: one.annotation for one in parameters}
    spread = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one.name for one in parameters if whole and one.default is one.empty and one.kind not in spread]
    wanted = {name: one for name, one in wanted.items() if signature.parameters[name].kind not in spread}

    @functools.wraps(function)
    def calling(*args, **kwargs):
        try:
            given = signature.bind_partial(*args, **kwargs).arguments
        except TypeError:  # the call itself says what is wrong
            return function(*args, **kwargs)
        check(target.__name__, wanted, given)
        missing = [name for name in needed if name not in given]
        if missing:
            what = values.words(wanted[missing[0]])
            raise ValueError(f"{target.__name__}.{missing[0]} is not set: it must be {what}")
        return function(*args, **kwargs)

    calling.__signature__ = signature
    if not inspect.isclass(target):
        return calling
    target.__init__ = calling
    return target


def check(owner: str, wanted: dict, given: dict) -> None:
    """Checks {parameter: value} against {parameter: annotation}; ValueError names the first that is wrong."""
    for name, value in given.items():
        # Not a named expression: AutoGraph, which meets this in a user's tf.function, cannot read it and says so.
        text = values.fault(value, wanted[name]) if name in wanted else ""
        if text:
            raise ValueError(f"{owner}.{name} = {values.shown(value)}: {text}")


def configurable(target=None, *, denylist=None):
    """`gin.configurable`, `checked`, for classes and functions, Keras layers and models among them.

    Args:
      denylist: parameters that gin may not bind.
    """
    if target is None:
        return functools.partial(configurable, denylist=denylist)
    signature = inspect.signature(target.__init__ if inspect.isclass(target) else target)
    kinds = {name: one.kind for name, one in signature.parameters.items()}
    named = [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name != "self"]
    # A layer takes **kwargs, so gin would let any name pass until it is made: it may bind those spelt out.
    is_layer = inspect.Parameter.VAR_KEYWORD in kinds.values()
    allowlist = [*named, *LayerSettings.__annotations__] if is_layer else None
    made = gin.configurable(checked(target, whole=True), allowlist=allowlist, denylist=denylist)
    if inspect.isclass(made):
        # Keras 3 looks there for the name of the first parameter, and finds *args of gin's wrapper otherwise.
        made.__init__.__signature__ = signature
    return made


def external(cls, module: str, product: type, settings: type | None = None) -> None:
    """Gives gin a class of another library, as `module`.NAME.

    Args:
      cls: is not changed. What gin and callers give by name is checked.
      module: for gin.
      product: a base of `cls`, which says where it fits.
      settings: a TypedDict of what it takes, where its own signature does not say.
    """
    signature = inspect.signature(cls)
    wanted = settings.__annotations__ if settings else {}

    @functools.wraps(cls, updated=())
    def make(*args, **kwargs):
        check(cls.__name__, wanted, kwargs)
        # Where fractions are right 1 is 1.0, but Keras takes no whole number for a learning rate.
        whole = {name for name, value in kwargs.items() if type(value) is int and name in wanted}
        fractions = {name for name in whole if not values.fault(kwargs[name] + 0.5, wanted[name])}
        return cls(*args, **kwargs | {name: float(kwargs[name]) for name in fractions})

    make.__signature__ = signature
    # It takes **kwargs, so gin would let any name pass until it is made: it may bind those spelt out.
    named = [name for name, one in signature.parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    gin.external_configurable(make, name=cls.__name__, module=module, allowlist=named)
