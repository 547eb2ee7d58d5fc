"""gin for Keras layers."""

import inspect

import gin


def configurable(cls):
    """`gin.configurable` for a Keras layer or model.

    gin replaces `__init__` by a wrapper that takes (*args, **kwargs), and Keras 3 then fails in `Operation.__new__`,
    which looks there for the name of the first parameter ("list index out of range"). The wrapper is given the
    signature of what it wraps.
    """
    signature = inspect.signature(cls.__init__)
    # Every layer takes **kwargs, so gin would let any name pass until the layer is made: it may bind those spelt out.
    named = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    cls = gin.configurable(cls, allowlist=[*named, "dtype", "trainable"])
    cls.__init__.__signature__ = signature
    return cls
