"""Files as torch.save and safetensors write them, made without these libraries."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np

from helpers.hostile_pickles import integer, text

STORAGES = {
    "f4": "FloatStorage",
    "f8": "DoubleStorage",
    "f2": "HalfStorage",
    "i8": "LongStorage",
    "u2": "BFloat16Storage",
}
MAGIC, VERSION = integer(0x1950A86A20F9469CFC6C), integer(1001)
PROTO = pickle.PROTO + b"\x02"


def name(module: str, attribute: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def shape(*sizes: int) -> bytes:
    return pickle.MARK + b"".join(map(integer, sizes)) + pickle.TUPLE


def storage(key: str, kind: str, count: int, more: bytes = b"") -> bytes:
    parts = text("storage") + name("torch", kind) + text(key) + text("cpu") + integer(count) + more
    return pickle.MARK + parts + pickle.TUPLE + pickle.BINPERSID


def tensor(stored: bytes, offset: int, sizes, strides) -> bytes:
    """A call of `_rebuild_tensor_v2`."""
    hooks = name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = stored + integer(offset) + shape(*sizes) + shape(*strides) + pickle.NEWFALSE + hooks
    return name("torch._utils", "_rebuild_tensor_v2") + pickle.MARK + arguments + pickle.TUPLE + pickle.REDUCE


def state_dict(values: dict[str, bytes]) -> bytes:
    """An ordered dict with the `_metadata` that `Module.state_dict` gives it."""
    begin = name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    items = pickle.MARK + b"".join(text(key) + value for key, value in values.items()) + pickle.SETITEMS
    metadata = pickle.EMPTY_DICT + text("_metadata") + begin + text("") + pickle.EMPTY_DICT + text("version")
    return begin + items + metadata + integer(1) + pickle.SETITEM + pickle.SETITEM + pickle.SETITEM + pickle.BUILD


def _pickled(arrays: dict[str, np.ndarray], legacy: bool) -> bytes:
    more = pickle.NONE if legacy else b""
    values = {}
    for number, (key, array) in enumerate(arrays.items()):
        stored = storage(str(number), STORAGES[array.dtype.str[1:]], array.size, more)
        values[key] = tensor(stored, 0, array.shape, [s // array.itemsize for s in array.strides])
    return state_dict(values)


def as_zip(arrays: dict[str, np.ndarray], around=lambda value: value) -> bytes:
    """torch.save of PyTorch 1.6 and later; `around` puts the pickled state dict into something else."""
    data = {str(number): array.tobytes() for number, array in enumerate(arrays.values())}
    return zip_of(PROTO + around(_pickled(arrays, False)) + pickle.STOP, data)


def zip_of(pickled: bytes, data: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, stored in data.items():
            archive.writestr(f"archive/data/{key}", stored)
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


def with_large_end(data: bytes, size: int | None = None) -> bytes:
    """A zip with the end for large archives, which PyTorch always writes; `size` of its directory as it states it."""
    count, length, start = struct.unpack_from("<HLL", data, len(data) - 12)
    sizes = (count, count, length if size is None else size, start)
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, *sizes)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + length, 1)
    return data[: start + length] + record + locator + data[start + length :]


def as_row(arrays: dict[str, np.ndarray], around=lambda value: value) -> bytes:
    """torch.save before PyTorch 1.6."""
    about = pickle.EMPTY_DICT + text("little_endian") + pickle.NEWTRUE + pickle.SETITEM
    keys = [str(number) for number in range(len(arrays))]
    listed = pickle.EMPTY_LIST + pickle.MARK + b"".join(map(text, keys)) + pickle.APPENDS
    parts = (MAGIC, VERSION, about, around(_pickled(arrays, True)), listed)
    stored = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in arrays.values())
    return b"".join(PROTO + part + pickle.STOP for part in parts) + stored


def as_safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    codes = {"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64", "u2": "BF16"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for key, array in arrays.items():
        stored = array.tobytes()
        offsets = [len(data), len(data) + len(stored)]
        header[key] = {"dtype": codes[array.dtype.str[1:]], "shape": list(array.shape), "data_offsets": offsets}
        data += stored
    return safetensors_of(json.dumps(header).encode(), data)


def safetensors_of(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


FORMATS = {"zip": as_zip, "row of pickles": as_row, "safetensors": as_safetensors}
