"""The pickles in PyTorch's files: tensors that name their storage, read by `pickle_machine`."""

import io
import math
import pickle
from typing import NamedTuple

import numpy as np

from mmv_tf.released.pickle_machine import CheckpointError, Machine, Name, describe

MAX_AXES = 8
# Bytes of a number of each type; bfloat16 is none of NumPy's.
DTYPES = {"f8": 8, "f4": 4, "f2": 2, "bfloat16": 2, "i8": 8, "i4": 4, "i2": 2, "i1": 1, "u1": 1, "b1": 1}
_STORAGES = {
    **{"DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1"},
    "BoolStorage": "b1",
}


class Storage(NamedTuple):
    """A row of numbers that tensors share: its key in the file, its type, and how many."""

    key: str
    code: str
    count: int

    @property
    def bytes(self) -> int:
        return self.count * DTYPES[self.code]

    def numbers(self, data: bytes) -> np.ndarray:
        """The numbers out of their bytes, as `array`."""
        if len(data) != self.bytes:
            raise CheckpointError(f"damaged: storage {self.key[:80]!r} has {len(data)} bytes, not {self.bytes}")
        return array(data, self.code)


class Tensor(NamedTuple):
    """A view of a storage, whose values may come later in the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.storage.code]

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """The array, read-only, out of the numbers of its storage."""
        strides = tuple(stride * numbers.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)


class Inert:
    """An object of a training script, such as its settings: there, and of no use."""


class TorchMachine(Machine):
    """A `Machine` for the pickles of torch.save.

    Args:
      file, size: as of `Machine`.
      whole: whether the file must end with the pickle.

    Attributes:
      storages: {key: Storage} of all that the pickle names.
    """

    def __init__(self, file: io.BufferedIOBase, size: int, whole: bool):
        super().__init__(file, size, _NAMES)
        self.whole, self.storages = whole, {}

    def operation(self, code: bytes):
        return _OPERATIONS.get(code) or super().operation(code)

    def finish(self):
        if not self.whole:
            self.size = self.position
        return super().finish()

    def set_items(self, items: list) -> None:
        """As in `Machine`, but an optimiser counts its parameters: whole numbers are keys too."""
        super().set_items([str(one) if not i % 2 and type(one) is int else one for i, one in enumerate(items)])

    def build(self) -> None:
        """An ordered dict has attributes of its own, `_metadata`, beside its items: passed over."""
        self.pop()
        if type(self.top()) not in (dict, Inert):
            raise CheckpointError(f"damaged: {describe(self.top())} is given a state")


def array(data: bytes, code: str) -> np.ndarray:
    """Little-endian numbers of one of `DTYPES`, read-only; bfloat16 as float32."""
    values = np.frombuffer(data, np.dtype("u2" if code == "bfloat16" else code).newbyteorder("<"))
    if code == "bfloat16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    values.flags.writeable = False
    return values


def _storage(machine: TorchMachine) -> None:
    """('storage', type, key, place, count), and a part that only views of the oldest files have."""
    parts = machine.pop(tuple)
    if len(parts) not in (5, 6) or parts[0] != "storage" or (len(parts) == 6 and parts[5] is not None):
        raise CheckpointError("damaged: bad reference to a storage")
    _, kind, key, _, count = parts[:5]
    if type(kind) is not Name or kind.name not in _STORAGES:
        raise CheckpointError("a storage of a type that is not understood")
    # Beyond 2**40 there is no file, and sums of such numbers would be slow.
    if type(key) is not str or type(count) is not int or not 0 <= count < 1 << 40:
        raise CheckpointError("damaged: bad reference to a storage")
    storage = Storage(key, _STORAGES[kind.name], count)
    if machine.storages.setdefault(key, storage) != storage:
        raise CheckpointError(f"damaged: two storages called {key[:80]!r}")
    machine.push(storage)


def _tensor(machine: Machine, arguments: tuple) -> Tensor:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...), each of which may be anything."""
    if len(arguments) < 4 or type(arguments[0]) is not Storage:
        raise CheckpointError("damaged: bad arguments of a tensor")
    storage, offset, shape, strides = arguments[:4]
    for given in ((offset,), shape, strides):
        known = type(given) is tuple and len(given) <= MAX_AXES and all(type(n) is int for n in given)
        if not known or any(not 0 <= n <= max(1, storage.count) for n in given):
            raise CheckpointError("damaged: a tensor that does not fit its storage")
    reaches = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=False))
    # With no more numbers than its storage, no tensor is a few bytes blown up.
    if len(shape) != len(strides) or math.prod(shape) > storage.count or (0 not in shape and reaches >= storage.count):
        raise CheckpointError("damaged: a tensor that does not fit its storage")
    return Tensor(storage, offset, shape, strides)


def _parameter(machine: Machine, arguments: tuple) -> Tensor:
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks)."""
    if not arguments or type(arguments[0]) is not Tensor:
        raise CheckpointError("damaged: bad arguments of a parameter")
    return arguments[0]


def _mapping(machine: Machine, arguments: tuple) -> dict:
    """An empty mapping, which items follow, or as Python 2 has it: one list of [key, value]."""
    pairs = arguments[0] if arguments else []
    known = type(pairs) is list and all(type(pair) is list and len(pair) == 2 for pair in pairs)
    if len(arguments) > 1 or not known or any(type(key) is not str for key, _ in pairs):
        raise CheckpointError("damaged: a mapping that is not made of pairs")
    return dict(pairs)


def _namespace(machine: Machine, arguments: tuple) -> Inert:
    return Inert()


_NAMES: dict[tuple[str, str], Name] = {
    ("torch._utils", "_rebuild_tensor"): Name("_rebuild_tensor", _tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Name("_rebuild_tensor_v2", _tensor),
    ("torch._utils", "_rebuild_parameter"): Name("_rebuild_parameter", _parameter),
    ("collections", "OrderedDict"): Name("OrderedDict", _mapping),
    ("argparse", "Namespace"): Name("Namespace", _namespace),
    **{("torch", name): Name(name) for name in _STORAGES},
}
_OPERATIONS = {
    pickle.BINPERSID: _storage,
    pickle.NEWOBJ: lambda machine: machine.reduce(),  # (class, arguments), as a call
    pickle.SHORT_BINSTRING: lambda machine: machine.push(machine.text("B")),  # texts of Python 2
    pickle.BINSTRING: lambda machine: machine.push(machine.text("I")),
}
