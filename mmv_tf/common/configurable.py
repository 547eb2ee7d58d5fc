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


def checked(target):
    """A class or function that refuses arguments which are not what its annotations say.

    Raises (when it is called):
      ValueError: one line that names parameter and value, and says what is wanted.
    """
    function = target.__init__ if inspect.isclass(target) else target
    signature = inspect.signature(function)
    wanted = {name: one.annotation for name, one in signature.parameters.items()}

    @functools.wraps(function)
    def calling(*args, **kwargs):
        check(target.__name__, wanted, _given(signature, args, kwargs))
        return function(*args, **kwargs)

    calling.__signature__ = signature
    if not inspect.isclass(target):
        return calling
    target.__init__ = calling
    return target


def check(owner: str, wanted: dict, given: dict) -> None:
    """Checks {parameter: value} against {parameter: annotation}; ValueError names the first that is wrong."""
    for name, value in given.items():
        if name in wanted and (text := values.fault(value, wanted[name])):
            raise ValueError(f"{owner}.{name} = {values.shown(value)}: {text}")


def _given(signature, args, kwargs) -> dict:
    try:
        return signature.bind_partial(*args, **kwargs).arguments
    except TypeError:  # of which the call itself will complain
        return {}


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
    made = gin.configurable(checked(target), allowlist=allowlist, denylist=denylist)
    if inspect.isclass(made):
        # Keras 3 looks there for the name of the first parameter, and finds *args of gin's wrapper otherwise.
        made.__init__.__signature__ = signature
    return made


def external(cls, module: str, product: type, settings: type | None = None) -> None:
    """Gives gin a class of another library, as `module`.NAME.

    Args:
      cls: is not changed.
      module: for gin.
      product: a base of `cls`, which says where it fits.
      settings: a TypedDict of what it takes, where its own signature does not say.
    """
    signature = inspect.signature(cls)
    wanted = settings.__annotations__ if settings else {}

    @functools.wraps(cls, updated=())
    def make(*args, **kwargs):
        check(cls.__name__, wanted, _given(signature, args, kwargs))
        # Where fractions are right 1 is 1.0, but Keras takes no whole number for a learning rate.
        whole = {name for name, value in kwargs.items() if type(value) is int and name in wanted}
        fractions = {name for name in whole if not values.fault(kwargs[name] + 0.5, wanted[name])}
        return cls(*args, **kwargs | {name: float(kwargs[name]) for name in fractions})

    make.__signature__ = signature
    # It takes **kwargs, so gin would let any name pass until it is made: it may bind those spelt out.
    named = [name for name, one in signature.parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    gin.external_configurable(make, name=cls.__name__, module=module, allowlist=named)
