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
    cls = gin.configurable(cls)
    cls.__init__.__signature__ = signature
    return cls
