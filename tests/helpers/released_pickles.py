"""Checkpoints in the layouts of the released files, pickled without the libraries that wrote those."""

import contextlib
import gzip
import pickle
import sys
import types

import numpy as np

from helpers.golden_recipe import GOLDEN, make_array

HAIKU, JAX, DILL = "haiku._src.data_structures", "jax._src.array", "dill._dill"
# (mapping class, array function): as dicts and NumPy arrays, and as each library has written them.
LAYOUTS = {
    "plain": (None, None),
    "FlatMapping": ((HAIKU, "FlatMapping"), None),
    "frozendict": ((HAIKU, "frozendict"), None),
    "jax": ((HAIKU, "FlatMapping"), (JAX, "_reconstruct_array")),
    "jax 0.4.0": ((HAIKU, "FlatMapping"), ("jax.experimental.array", "_reconstruct_array")),
    "jax 0.2": ((HAIKU, "FlatMapping"), ("jax._src.device_array", "reconstruct_device_array")),
    "dill": ((HAIKU, "frozendict"), (DILL, "_create_array")),
    "old dill": (None, ("dill.dill", "_create_array")),
}


def dumps(tree, layout: str = "plain", protocol: int = 4) -> bytes:
    """{'params': {module: {leaf: array}}, 'state': ...} as one of LAYOUTS."""
    mapping, function = LAYOUTS[layout]
    with _stub(mapping, _Mapping) as make_mapping, _stub(function, _StubFunction) as stand_in:

        def array(values):
            return values if stand_in is None else _Reduced(stand_in, values)

        def convert(modules):
            make = make_mapping or dict
            return make({m: make({leaf: array(v) for leaf, v in leaves.items()}) for m, leaves in modules.items()})

        return pickle.dumps({name: convert(modules) for name, modules in tree.items()}, protocol)


class _Mapping(dict):
    def __reduce__(self):
        return type(self), (dict(self),)


class _StubFunction:
    """Pickled by name, as a function is."""

    def __reduce__(self):
        return self.__qualname__

    def __call__(self):  # pickle asks for a callable
        raise AssertionError


class _Reduced:
    """An array that pickles as `function(fun, args, state, more)`, as JAX's and dill's do."""

    def __init__(self, function, values):
        self.function, self.values = function, values

    def __reduce__(self):
        more = {"weak_type": False} if self.function.__module__.startswith("jax") else None
        return self.function, (*np.asarray(self.values).__reduce__(), more)


@contextlib.contextmanager
def _stub(where, base):
    """The class or function `where` = (module, name), which can be pickled by that name for as long as this lasts."""
    if where is None:
        yield None
        return
    module, name = where
    stub = type(name, (base,), {"__module__": module})
    if base is _StubFunction:
        stub = stub()
        stub.__module__, stub.__qualname__, stub.__name__ = module, name, name
    parts = module.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    before = {n: sys.modules.get(n) for n in names}
    try:
        for n in names:
            sys.modules[n] = types.ModuleType(n)
        setattr(sys.modules[module], name, stub)
        yield stub
    finally:
        for n, old in before.items():
            if old is None:
                sys.modules.pop(n, None)
            else:
                sys.modules[n] = old


def tree_of(names_and_shapes) -> dict:
    """The arrays of the recipe for [(part, name, shape)], as a checkpoint holds them."""
    tree = {"params": {}, "state": {}}
    for part, name, shape in names_and_shapes:
        module, leaf = name.rsplit("/", 1)
        tree[part].setdefault(module, {})[leaf] = make_array(name, shape)
    return tree


def released_arrays(network: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """[(part, name, shape)] of a released network, 's3d_s2d' or 'tsm_x1', with 1000 word vectors.

    Printed by the reference code (deepmind-research/mmv), not by ours.
    """
    with gzip.open(GOLDEN / "released_arrays.txt.gz", "rt") as file:
        sections = file.read().split("# ")
    lines = next(s for s in sections if s.startswith(f"{network}\n")).splitlines()[1:]
    fields = [line.split() for line in lines]
    return [(part, name, () if s == "-" else tuple(map(int, s.split(",")))) for part, name, s, _ in fields]


def arrays_of(model, modules) -> list[tuple[str, str, tuple[int, ...]]]:
    """[(part, name, shape)] of the file that a model of ours would come from; small ones make quick tests."""
    from mmv_tf.released import name_map

    state = ("average", "hidden", "counter")
    return [
        ("state" if entry.name.rsplit("/", 1)[1] in state else "params", entry.name, entry.shape)
        for entry in name_map.model(model, modules)
    ]
