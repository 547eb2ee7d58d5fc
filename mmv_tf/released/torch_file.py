"""A reader of PyTorch's weight files that runs nothing of what is in them.

Three formats: the zip archives of `torch.save` (PyTorch 1.6 and later), the rows of pickles before them, in which most
of the published video networks still are, and safetensors. None of these libraries is needed or asked. Pickles go
through `pickle_machine`: `_NAMES` says what stands for each name that such a file may use, and all others are refused.
"""

import io
import json
import math
import os
import struct
import zipfile

import numpy as np

from mmv_tf.released import checkpoint_file, torch_pickle
from mmv_tf.released.pickle_machine import CheckpointError, describe
from mmv_tf.released.torch_pickle import DTYPES, Tensor, TorchMachine

MAX_FILE_BYTES = 2 << 30  # the largest of the published files has about 0.3 GB
_MAX_HEADER = 16 << 20  # bytes of a pickle, of a zip's directory, or of a safetensors header
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format before zip
_SAFE = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16", "I64": "i8", "I32": "i4", "U8": "u1", "BOOL": "b1"}
# Where a checkpoint of a training run keeps its network, beside its optimiser and the like.
_PLACES = ("state_dict", "model", "model_state_dict", "net", "network")


def read(path: str, max_bytes: int = MAX_FILE_BYTES) -> dict[str, np.ndarray]:
    """Reads the state dict of a file.

    Args:
      path: a local file.
      max_bytes: larger files are refused.

    Returns:
      {name: array}. 'module.', which wrappers put before all names, is taken away; the dict may lie under 'state_dict',
      'model' or the like. The arrays are read-only and in the byte order of this machine; bfloat16 becomes float32.

    Raises:
      CheckpointError: no such file, or not what is described above; one line with the file and the reason.
    """
    return checkpoint_file.read(path, max_bytes, parse)


def parse(file: io.BufferedIOBase, size: int) -> dict[str, np.ndarray]:
    """`read` for an open file of `size` bytes."""
    head = file.read(9)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        arrays = _from_zip(file, size)
    elif head.startswith(b"\x80"):
        arrays = _from_row_of_pickles(file, size)
    elif len(head) == 9 and head[8:] == b"{":
        arrays = _from_safetensors(file, size)
    else:
        raise CheckpointError("neither a file of torch.save nor safetensors")
    if not arrays:
        raise CheckpointError("holds no tensors")
    wrapped = all(name.startswith("module.") for name in arrays)
    return {name.removeprefix("module.") if wrapped else name: array for name, array in arrays.items()}


def _from_zip(file: io.BufferedIOBase, size: int) -> dict[str, np.ndarray]:
    if _directory_bytes(file, size) > _MAX_HEADER:
        raise CheckpointError(f"a zip with a directory of more than {_MAX_HEADER} bytes")
    try:
        with zipfile.ZipFile(file) as archive:
            return _from_archive(archive, size)
    # What the library raises for damaged archives of one kind and another.
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeError, struct.error) as error:
        raise CheckpointError(f"a damaged zip: {error}") from None


def _directory_bytes(file: io.BufferedIOBase, size: int) -> int:
    """The size of a zip's directory as its end states it: the library reads all of that before it asks anything."""
    tail_bytes = min(size, (1 << 16) + 22)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or end + 22 > len(tail):
        raise CheckpointError("a damaged zip: it has no end")
    stated = [struct.unpack_from("<I", tail, end + 12)[0]]
    if end >= 20 and tail[end - 20 : end - 16] == b"PK\x06\x07":  # the form for large archives, which PyTorch writes
        place = struct.unpack_from("<Q", tail, end - 12)[0]
        if place + 56 > size:
            raise CheckpointError("a damaged zip: its end points beyond it")
        file.seek(place)
        stated = [n for n in stated if n != 0xFFFFFFFF] + [struct.unpack_from("<Q", file.read(56), 40)[0]]
    return max(stated)


def _from_archive(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1 or len(entries) != len(archive.infolist()):
        raise CheckpointError("a zip that torch.save did not write: it has no data.pkl, or names twice")
    left = size

    def take(name: str) -> bytes:
        nonlocal left
        entry = entries.get(f"{roots[0]}{name}")
        if entry is None:
            raise CheckpointError(f"damaged: it lacks {name}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise CheckpointError(f"{name} is compressed, which torch.save never does")
        left -= entry.file_size
        if left < 0:  # entries that lie over one another
            raise CheckpointError("its parts are larger than the file")
        return archive.read(entry)

    if f"{roots[0]}byteorder" in entries and take("byteorder") != b"little":
        raise CheckpointError("the numbers of a machine of the other byte order")
    if entries[f"{roots[0]}data.pkl"].file_size > _MAX_HEADER:
        raise CheckpointError(f"a pickle of more than {_MAX_HEADER} bytes")
    pickled = take("data.pkl")
    machine = TorchMachine(io.BytesIO(pickled), len(pickled), whole=True)
    tensors = _state_dict(_run(machine), size)
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    numbers = {key: storage.numbers(take(f"data/{key}")) for key, storage in storages.items()}
    return {name: tensor.values(numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _from_row_of_pickles(file: io.BufferedIOBase, size: int) -> dict[str, np.ndarray]:
    """The format of PyTorch before 1.6: magic number, version, machine, object, keys; then the storages."""

    def run():
        machine = TorchMachine(file, size - file.tell(), whole=False)
        return _run(machine), machine.storages

    if run()[0] != _MAGIC or run()[0] != _PROTOCOL:
        raise CheckpointError("a pickle, but not of torch.save")
    about, _ = run()
    if type(about) is not dict or about.get("little_endian") is not True:
        raise CheckpointError("the numbers of a machine of the other byte order")
    root, storages = run()
    tensors, (keys, _) = _state_dict(root, size), run()
    needed = {tensor.storage.key for tensor in tensors.values()}
    known = type(keys) is list and all(type(key) is str for key in keys)
    if not known or sorted(storages) != sorted(keys):
        raise CheckpointError("damaged: other storages than its tensors name")
    numbers = {}
    for key in keys:
        length = storages[key].bytes
        if file.read(8) != struct.pack("<q", storages[key].count) or length > size - file.tell():
            raise CheckpointError("damaged: a storage of another size than its tensors say")
        if key in needed:
            numbers[key] = storages[key].numbers(file.read(length))
        else:  # an optimiser's
            file.seek(length, os.SEEK_CUR)
    return {name: tensor.values(numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _run(machine: TorchMachine):
    try:
        return machine.run()
    except CheckpointError as error:
        raise CheckpointError(f"{error} (before byte {machine.position} of a pickle)") from None


def _state_dict(root, size: int) -> dict[str, Tensor]:
    """The tensors of the network, wherever in the object out of a file of `size` bytes they are."""
    found = root
    for _ in range(3):
        if type(found) is not dict:
            raise CheckpointError(f"holds {describe(found)}, not a dict of tensors")
        if any(type(value) is Tensor for value in found.values()):
            break
        found = next((found[place] for place in _PLACES if type(found.get(place)) is dict), {})
    tensors = {name: value for name, value in found.items() if type(name) is str and type(value) is Tensor}
    checkpoint_file.check_uses((tensor.bytes for tensor in tensors.values()), size)
    return tensors


def _from_safetensors(file: io.BufferedIOBase, size: int) -> dict[str, np.ndarray]:
    """[length of the header u64][header, JSON][data] (github.com/huggingface/safetensors)."""
    length = struct.unpack("<Q", file.read(8))[0]
    if length > min(_MAX_HEADER, size - 8):
        raise CheckpointError("damaged: a header longer than the file, or than 16 MB")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        raise CheckpointError("damaged: a header that is no JSON") from None
    header = {name: entry for name, entry in header.items() if name != "__metadata__"}
    data, left, arrays = file.read(size - 8 - length), size - 8 - length, {}
    for name, entry in header.items():
        try:
            code, shape, (start, end) = _SAFE[entry["dtype"]], entry["shape"], entry["data_offsets"]
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(f"damaged: bad entry of {name[:80]!r}") from None
        numbers = [start, end, *shape] if type(shape) is list and len(shape) <= torch_pickle.MAX_AXES else [-1]
        if any(type(n) is not int or n < 0 for n in numbers) or not start <= end <= len(data):
            raise CheckpointError(f"damaged: bad entry of {name[:80]!r}")
        left -= end - start
        if left < 0 or math.prod(shape) * DTYPES[code] != end - start:
            raise CheckpointError(f"damaged: {name[:80]!r} has another size than its shape")
        arrays[name] = torch_pickle.array(data[start:end], code).reshape(shape)
    return arrays
