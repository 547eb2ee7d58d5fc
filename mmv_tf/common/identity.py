"""Identities: one of a network (its weights and all settings that its outputs depend on), one of files by content.

Whatever is kept, shown or compared says by them what it was made of. Names and times of files have no part in them.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Set

import numpy as np

LENGTH = 32  # hexadecimal digits
TRAINING_ALONE = "training alone"  # in the metadata of a dataclass' field that no output depends on


def of(*parts) -> str:
    """The identity of values, objects and layers by their settings (`describe`); without weights: see `of_weights`."""
    return hashlib.sha256(json.dumps([describe(part) for part in parts]).encode()).hexdigest()[:LENGTH]


def of_training(*parts) -> str:
    """`of`, with the settings that concern training alone and what is trained: for what is made by training on."""
    return hashlib.sha256(json.dumps([describe(part, whole=True) for part in parts]).encode()).hexdigest()[:LENGTH]


def of_weights(variables: Mapping[str, object] | Iterable) -> str:
    """The identity of variables by their values: {name: variable}, or variables in an order that means something."""
    named = variables.items() if isinstance(variables, Mapping) else enumerate(variables)
    digest = hashlib.sha256()
    for name, variable in named:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{name} {value.dtype} {value.shape} ".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:LENGTH]


def of_layer(layer) -> str:
    """The identity of a built layer: its settings and its weights."""
    return of(layer, of_weights(layer.variables))


def describe(value, whole: bool = False):
    """A value as JSON that is the same wherever the value means the same.

    Objects are their class and their attributes; layers without those that Keras keeps for itself; functions their
    name, and what is bound to them. Of variables and of resources of TensorFlow nothing is told but that they are
    there: an object with settings that it puts into such a resource alone has to keep them as attributes, too. The
    class of a layer can name attributes in OUTPUTS_DO_NOT_DEPEND_ON that concern training alone, and so can the
    metadata of a dataclass' field (TRAINING_ALONE): `whole` tells them, too, and which layers are trained.
    """
    return _describe(value, (), whole)


def _describe(value, inside: tuple[int, ...], whole: bool):
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if isinstance(value, np.generic):
        return _describe(value.item(), inside, whole)
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return ["array", *(_describe(one, inside, whole) for one in value.tolist())]
        return ["array", str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, type):
        return ["class", _name(value)]
    if id(value) in inside:  # not whatever came before: whether equal values are one object means nothing
        return ["inside of it", len(inside) - inside.index(id(value))]
    inside = (*inside, id(value))
    if isinstance(value, Mapping):
        return ["dict", *([str(k), _describe(value[k], inside, whole)] for k in sorted(value, key=str))]
    if isinstance(value, Set):
        return ["set", *sorted(json.dumps(_describe(one, inside, whole)) for one in value)]
    if isinstance(value, (list, tuple)):
        return ["list", *(_describe(one, inside, whole) for one in value)]
    if isinstance(value, functools.partial):
        return ["partial", *(_describe(one, inside, whole) for one in (value.func, value.args, value.keywords))]
    if callable(value) and hasattr(value, "__code__"):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [
            "function",
            _name(value),
            _of_code(value.__code__),
            *(_describe(one, inside, whole) for one in (*cells, value.__defaults__)),
        ]
    if dataclasses.is_dataclass(value):
        told = [field.name for field in dataclasses.fields(value) if whole or not field.metadata.get(TRAINING_ALONE)]
        fields = {name: getattr(value, name) for name in told}
        return [_name(type(value)), _describe(fields, inside, whole)]
    return _describe_object(value, inside, whole)


def _describe_object(value, inside, whole):
    module = type(value).__module__.partition(".")[0]
    if module == "tensorflow" or not hasattr(value, "__dict__") or _is_variable(value):
        return _name(type(value))
    own, told = vars(value), {}
    if _is_layer(value):
        told = {"dtype": value.dtype_policy.name}
        without = set(_names_of_every_layer())
        if whole:
            told["trainable"] = value.trainable
        else:
            without.update(getattr(type(value), "OUTPUTS_DO_NOT_DEPEND_ON", ()))
        own = {name: one for name, one in own.items() if name not in without}
    elif hasattr(value, "get_config"):  # Keras' initialisers, optimisers and seeds, which it numbers as they are made
        own = {name: one for name, one in value.get_config().items() if name != "name"}
    own = {name: one for name, one in own.items() if not name.startswith(("_tf_", "_self_", "_unconditional", "_obj_"))}
    return [_name(type(value)), told, _describe(own, inside, whole)]


def _of_code(code) -> str:
    parts = [_of_code(one) if hasattr(one, "co_code") else repr(one) for one in code.co_consts]
    return hashlib.sha256(code.co_code + repr([code.co_names, parts]).encode()).hexdigest()


def _is_variable(value) -> bool:
    return hasattr(value, "assign") and hasattr(value, "numpy")


def _is_layer(value) -> bool:
    import keras

    return isinstance(value, keras.layers.Layer)


@functools.cache
def _names_of_every_layer() -> frozenset[str]:
    import keras

    layer = keras.layers.Layer()
    layer.build(())
    return frozenset(vars(layer))


def _name(of_what) -> str:
    return f"{of_what.__module__}.{of_what.__qualname__}"
