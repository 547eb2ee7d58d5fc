"""Signatures of all that gin can make, read from the source: no room is imported, and so TensorFlow is not.

What annotations need of a module is evaluated: its constants, and its classes as empty ones with the bases and
parameters that they state. Whatever comes from another library is an empty class of that name. That does for settings,
whose annotations are made of the types and ranges of `mmv_tf.common.values` and of names of classes.
"""

import ast
import functools
import importlib
import inspect
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import mmv_tf
from mmv_tf.common.configurable import LayerSettings


class Signature(NamedTuple):
    """What a configurable takes and makes.

    Attributes:
      parameters: {name: annotation}.
      product: the class that is made, or what a function says that it returns; None if it does not say.
    """

    parameters: dict[str, Any]
    product: Any


@functools.cache
def of_configurables(modules: tuple[str, ...]) -> dict[str, Signature]:
    """{name by which gin knows it, such as 'mmv_tf.inputs.audio.LogMel': signature} of all that modules define.

    Args:
      modules: all modules of one that is a package count.
    """
    found = {}
    for module in modules:
        path = _path(module)
        inner = sorted(path.parent.glob("*.py")) if path.stem == "__init__" else [path]
        for name in (module if one == path else f"{module}.{one.stem}" for one in inner):
            found |= dict(_names(name).configurables())
    return found


class _Drawn(type):
    """A class as the source states it: a name, bases and parameters. An attribute of one is another."""

    parameters: dict[str, Any] = {}

    def __getattr__(cls, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return _elsewhere(f"{cls.__module__}.{cls.__name__}.{name}".lstrip("."))

    @property
    def __signature__(cls):
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature([inspect.Parameter(n, kind, annotation=one) for n, one in cls.parameters.items()])


@functools.cache
def _elsewhere(name: str) -> _Drawn:
    """What another library calls so."""
    module, _, last = name.rpartition(".")
    return _Drawn(last, (), {"__module__": module})


class _Names(dict):
    """The names of a module, each evaluated when it is asked for."""

    def __init__(self, module: str):
        super().__init__(__name__=module)
        self._statements = ast.parse(_path(module).read_text(encoding="utf-8")).body
        self._nodes, self._imports = {}, {}
        for node in self._statements:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._nodes[node.targets[0].id] = node.value
            elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                self._nodes[node.name] = node
            elif isinstance(node, ast.Import):
                self._imports |= {one.asname or one.name.partition(".")[0]: one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                self._imports |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}

    def __missing__(self, name):
        node = self._nodes.get(name)
        if name in self._imports:
            self[name] = _imported(self._imports[name])
        elif isinstance(node, ast.ClassDef):
            self[name] = self._class(node)
        elif isinstance(node, ast.FunctionDef):
            self[name] = Signature(self._parameters(node), self._value(node.returns))
        elif node:
            self[name] = self._value(node)
        else:
            raise KeyError(name)  # then Python looks among the builtins
        return self[name]

    def __getattr__(self, name):
        return self[name]

    def configurables(self) -> Iterator[tuple[str, Signature]]:
        """(name for gin, signature) of what the module decorates with `configurable` or hands to `external`."""
        for node in self._statements:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                if ast.unparse(node.value.func) == "external":
                    cls, module, product, *settings = map(self._value, node.value.args)
                    taken = settings[0].__annotations__ if settings else cls.parameters
                    yield f"{module}.{cls.__name__}", Signature(taken, product)
            if "configurable" in _names_of(getattr(node, "decorator_list", ())):
                made = self[node.name]
                made = Signature(made.parameters, made) if isinstance(made, _Drawn) else made
                yield f"{self['__name__']}.{node.name}", made

    def _value(self, node: ast.expr | None):
        if node is None:
            return None
        return eval(compile(ast.Expression(node), self["__name__"], "eval"), {}, self)  # an expression of ours

    def _class(self, node: ast.ClassDef) -> _Drawn:
        bases = [base for base in map(self._value, node.bases) if isinstance(base, _Drawn)]
        cls = _Drawn(node.name, tuple(bases), {"__module__": self["__name__"]})
        own = {part.target.id: self._value(part.annotation) for part in node.body if isinstance(part, ast.AnnAssign)}
        made = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
        if made:
            cls.parameters = self._parameters(made)
            if made.args.kwarg and "configurable" in _names_of(node.decorator_list):
                cls.parameters |= LayerSettings.__annotations__
        elif "dataclasses.dataclass" in _names_of(node.decorator_list):
            cls.parameters = {n: one for base in reversed(bases) for n, one in base.parameters.items()} | own
        cls.__annotations__ = own
        return cls

    def _parameters(self, node: ast.FunctionDef) -> dict[str, Any]:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        stated = {one.arg: one.annotation for one in arguments if one.arg != "self"}
        return {name: self._value(one) if one else inspect.Parameter.empty for name, one in stated.items()}


def _names_of(decorators) -> set[str]:
    return {ast.unparse(getattr(decorator, "func", decorator)) for decorator in decorators}


_names = functools.cache(_Names)


def _path(module: str) -> pathlib.Path:
    path = pathlib.Path(mmv_tf.__file__).parent.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imported(name: str):
    """A module or a name in one: of the standard library and of `common` as it is; of other rooms read, too."""
    module, _, last = name.rpartition(".")
    if name.partition(".")[0] in sys.stdlib_module_names or name.startswith("mmv_tf.common."):
        try:
            return getattr(importlib.import_module(module), last) if module else importlib.import_module(name)
        except AttributeError:
            return importlib.import_module(name)
    if not name.startswith("mmv_tf."):
        return _elsewhere(name)
    return _names(name) if _path(name).is_file() else _names(module)[last]
