"""A reader of the released checkpoints that runs nothing of what is in them.

The files are pickles of {'params': {module: {leaf: array}}, 'state': {...}}, written by dill (deepmind-research/mmv,
utils/checkpoint.py). The arrays are NumPy's or JAX's, the mappings dicts or haiku's; none of these libraries is needed
or asked: `_NAMES` says what stands for each name that such a file may use, and `pickle_machine` refuses all others.
"""

import io
import math

import numpy as np

from mmv_tf.released import checkpoint_file
from mmv_tf.released.pickle_machine import MAX_OPCODES, CheckpointError, Machine, Name, describe

MAX_FILE_BYTES = 2 << 30  # the largest released file has about 0.6 GB
_MAX_AXES = 8
_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def read(path: str, max_bytes: int = MAX_FILE_BYTES) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Reads a released checkpoint (pickle protocols 2 to 5).

    Args:
      path: a local file.
      max_bytes: larger files are refused.

    Returns:
      {'params': {module: {leaf: array}}, 'state': {module: {leaf: array}}}. The arrays are read-only and in the byte
      order of this machine; bfloat16 becomes float32.

    Raises:
      CheckpointError: no such file, or not what is described above; one line with the file and the reason.
    """
    return checkpoint_file.read(path, max_bytes, parse)


def parse(file: io.BufferedIOBase, size: int) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """`read` for an open file of `size` bytes."""
    machine = Machine(file, size, _NAMES)
    try:
        root = machine.run()
    except CheckpointError as error:
        raise CheckpointError(f"{error} (before byte {machine.position})") from None
    if type(root) is not dict:
        raise CheckpointError(f"holds {describe(root)}, not a dict with 'params' and 'state'")
    return _tree(root, size)


def _tree(root: dict, size: int) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """The arrays of an object out of a file of `size` bytes, in which one mapping or array may have many names."""
    tree, count = {}, 0
    for name in ("params", "state"):
        modules = root.get(name)
        if type(modules) is not dict or not modules:
            raise CheckpointError(f"{name!r} is missing or is no mapping of modules")
        for module, leaves in modules.items():
            if type(leaves) is not dict:
                raise CheckpointError(f"{name!r}: module {module!r} is {describe(leaves)}, not a mapping of arrays")
            count += len(leaves)
            if count > MAX_OPCODES:  # of which each array, in a mapping of its own, takes some
                raise CheckpointError(f"more than {MAX_OPCODES} arrays, as many modules have the same mapping")
            for leaf, value in leaves.items():
                if type(value) is not Array or value.values is None:
                    raise CheckpointError(f"{name!r}: {module!r}, {leaf!r} is {describe(value)}, not an array")
        tree[name] = {m: {leaf: array.values for leaf, array in leaves.items()} for m, leaves in modules.items()}
    arrays = (values for modules in tree.values() for leaves in modules.values() for values in leaves.values())
    checkpoint_file.check_uses((values.nbytes for values in arrays), size)
    return tree


class DType:
    """An element type: one of _DTYPES or 'bfloat16', and its byte order."""

    def __init__(self, code: str):
        self.code, self.order = code, "="

    def set_state(self, machine: Machine, state: tuple) -> None:
        """(version, byte order, then what only structured and dated types have, then sizes)."""
        if len(state) < 5 or state[1] not in ("<", ">", "=", "|") or any(state[2:5]):
            raise CheckpointError("damaged: bad state of a dtype")
        self.order = state[1]


class Array:
    """An array that was named, and has values once its state is known."""

    def __init__(self, values: np.ndarray | None = None):
        self.values = values

    def set_state(self, machine: Machine, state) -> None:
        """(version, shape, dtype, whether in Fortran order, bytes)."""
        if self.values is not None or type(state) is not tuple or len(state) != 5 or type(state[3]) is not bool:
            raise CheckpointError("damaged: bad state of an array")
        _, shape, dtype, fortran_order, data = state
        self.values = _array(machine, data, dtype, shape, "F" if fortran_order else "C")


def _array(machine: Machine, data, dtype, shape, order: str) -> np.ndarray:
    """An array from its parts, each of which the file may have set to anything."""
    if type(dtype) is not DType:
        raise CheckpointError("an array whose dtype is not understood")
    if type(data) is not bytes:
        raise CheckpointError(f"an array whose values are {describe(data)}, not bytes")
    if type(shape) is not tuple or len(shape) > _MAX_AXES or any(type(n) is not int or n < 1 for n in shape):
        raise CheckpointError("an array whose shape is no tuple of a few positive integers")
    stored = np.dtype("u2" if dtype.code == "bfloat16" else dtype.code).newbyteorder(dtype.order)
    if math.prod(shape) * stored.itemsize != len(data):  # not printed: it may have hundreds of digits
        raise CheckpointError(f"an array of {len(data)} bytes whose shape asks for another number")
    machine.spend(len(data))
    values = np.frombuffer(data, stored)
    if dtype.code == "bfloat16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    values.flags.writeable = False
    return values.reshape(shape, order=order)


def _dtype(machine: Machine, arguments: tuple) -> DType:
    """numpy.dtype('f4', False, True)."""
    code = arguments[0] if arguments else None
    if type(code) is Name and code.name == "bfloat16":
        return DType("bfloat16")
    if type(code) is not str or code not in _DTYPES:
        raise CheckpointError(f"dtype {code[:20]!r}" if type(code) is str else "a dtype that is not understood")
    return DType(code)


def _reconstruct(machine: Machine, arguments: tuple) -> Array:
    """numpy's `_reconstruct(ndarray, (0,), b'b')`; the state follows."""
    if len(arguments) != 3 or type(arguments[0]) is not Name or arguments[0].name != "ndarray":
        raise CheckpointError("an array of an unknown class")
    return Array()


def _scalar(machine: Machine, arguments: tuple) -> Array:
    """numpy's `scalar(dtype, bytes)`."""
    if len(arguments) != 2:
        raise CheckpointError("damaged: bad arguments of a scalar")
    return Array(_array(machine, arguments[1], arguments[0], (), "C"))


def _frombuffer(machine: Machine, arguments: tuple) -> Array:
    """numpy's `_frombuffer(buffer, dtype, shape, order, axis_order)` of protocol 5; the last one is newer."""
    if len(arguments) not in (4, 5) or arguments[3] not in ("C", "F", "K"):
        raise CheckpointError("damaged: bad arguments of an array")
    data, dtype, shape, order = arguments[:4]
    axes = arguments[4] if len(arguments) == 5 else None
    values = _array(machine, data, dtype, shape, "F" if order == "F" else "C")
    if order == "K" and axes is not None:
        if type(axes) is not tuple or any(type(a) is not int for a in axes) or sorted(axes) != [*range(values.ndim)]:
            raise CheckpointError("damaged: bad order of the axes of an array")
        values = values.transpose(axes)
    return Array(values)


def _rebuild(machine: Machine, arguments: tuple) -> Array:
    """dill's `_create_array(function, arguments, state, attributes)`, and JAX's, whose last argument is the aval."""
    if len(arguments) not in (3, 4) or type(arguments[1]) is not tuple:
        raise CheckpointError("damaged: bad arguments of an array")
    array = machine.call(arguments[0], arguments[1])
    if type(array) is not Array:
        raise CheckpointError("damaged: an array that is made of something else")
    array.set_state(machine, arguments[2])
    return array


def _mapping(machine: Machine, arguments: tuple) -> dict:
    """A mapping class called with one dict, or with nothing."""
    if not arguments:
        return {}
    if len(arguments) != 1 or type(arguments[0]) is not dict:
        raise CheckpointError("damaged: a mapping that is not made of a dict")
    return arguments[0]


def _encode(machine: Machine, arguments: tuple) -> bytes:
    """`_codecs.encode(text, 'latin1')`: how protocol 2 stores bytes."""
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] != "latin1":
        raise CheckpointError("damaged: bad arguments of an encoded text")
    machine.spend(len(arguments[0]))
    try:
        return arguments[0].encode("latin-1")
    except UnicodeEncodeError:
        raise CheckpointError("damaged: bytes that are no bytes") from None


# Every name that a checkpoint may use. NumPy 2 renamed numpy.core to numpy._core; JAX moved its function several times.
_NAMES: dict[tuple[str, str], Name] = {
    ("numpy", "ndarray"): Name("ndarray"),
    ("numpy", "dtype"): Name("dtype", _dtype),
    ("numpy.core.multiarray", "_reconstruct"): Name("_reconstruct", _reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): Name("_reconstruct", _reconstruct),
    ("numpy.core.multiarray", "scalar"): Name("scalar", _scalar),
    ("numpy._core.multiarray", "scalar"): Name("scalar", _scalar),
    ("numpy.core.numeric", "_frombuffer"): Name("_frombuffer", _frombuffer),
    ("numpy._core.numeric", "_frombuffer"): Name("_frombuffer", _frombuffer),
    ("ml_dtypes", "bfloat16"): Name("bfloat16"),
    ("jaxlib.xla_extension", "bfloat16"): Name("bfloat16"),
    ("jax._src.array", "_reconstruct_array"): Name("_reconstruct_array", _rebuild),
    ("jax.experimental.array", "_reconstruct_array"): Name("_reconstruct_array", _rebuild),
    ("jax._src.device_array", "reconstruct_device_array"): Name("reconstruct_device_array", _rebuild),
    ("jax.interpreters.xla", "reconstruct_device_array"): Name("reconstruct_device_array", _rebuild),
    ("dill._dill", "_create_array"): Name("_create_array", _rebuild),
    ("dill.dill", "_create_array"): Name("_create_array", _rebuild),
    ("haiku._src.data_structures", "FlatMapping"): Name("FlatMapping", _mapping),
    ("haiku._src.data_structures", "frozendict"): Name("frozendict", _mapping),
    ("collections", "OrderedDict"): Name("OrderedDict", _mapping),
    ("_codecs", "encode"): Name("encode", _encode),
}
