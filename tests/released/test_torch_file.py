"""The reader of PyTorch's files: every format, and nothing from a hostile file."""

import io
import json
import os
import pickle
import random
import struct
import time
import zipfile

import numpy as np
import pytest

from helpers import hostile_pickles, torch_files
from helpers.hostile_pickles import integer, text
from helpers.torch_files import FORMATS, PROTO, name, safetensors_of, state_dict, storage, tensor, zip_of
from mmv_tf.released import torch_file
from mmv_tf.released.pickle_machine import CheckpointError

ARRAYS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8,
    "a.running_var": np.array([1.5, -2, 0], np.float16),
    "b.weight": np.arange(6, dtype=np.float64).reshape(3, 2),
    "a.num_batches_tracked": np.array(7, np.int64),
}


def read(data: bytes, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    return torch_file.read(str(path))


def assert_arrays(found, expected=ARRAYS):
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key].dtype == values.dtype and found[key].dtype.isnative
        np.testing.assert_array_equal(found[key], values)
        with pytest.raises(ValueError, match="read-only"):
            found[key][...] = 0


@pytest.mark.parametrize("form", FORMATS)
def test_reads_every_format(form, tmp_path):
    assert_arrays(read(FORMATS[form](ARRAYS), tmp_path))
    wrapped = {f"module.{key}": values for key, values in ARRAYS.items()}
    assert_arrays(read(FORMATS[form](wrapped), tmp_path))
    halves = np.array([0x3FC0, 0xC000], np.uint16)  # 1.5 and -2 in bfloat16
    found = read(FORMATS[form]({"x": halves}), tmp_path)["x"]
    assert found.dtype == np.float32 and found.tolist() == [1.5, -2]


def test_reads_an_archive_with_the_end_that_pytorch_writes(tmp_path):
    assert_arrays(read(torch_files.with_large_end(torch_files.as_zip(ARRAYS)), tmp_path))


@pytest.mark.parametrize("form", ["zip", "row of pickles"])
def test_reads_the_network_out_of_a_checkpoint_of_training(form, tmp_path):
    settings = name("argparse", "Namespace") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    settings += pickle.EMPTY_DICT + text("lr") + integer(1) + pickle.SETITEM + pickle.BUILD
    optimiser = pickle.EMPTY_DICT + integer(0) + text("x") + pickle.SETITEM
    items = {"epoch": integer(3), "args": settings, "optimizer": optimiser}

    def around(value):
        parts = [text(key) + part for key, part in {**items, "state_dict": value}.items()]
        return pickle.EMPTY_DICT + pickle.MARK + b"".join(parts) + pickle.SETITEMS

    assert_arrays(read(FORMATS[form](ARRAYS, around), tmp_path))


def test_reads_views_of_one_storage(tmp_path):
    """Of a network that was saved channels last, and two tensors in one storage."""
    numbers = np.arange(10, dtype=np.float32)
    stored = storage("0", "FloatStorage", 10)
    values = {
        "t": tensor(stored, 1, (2, 3), (1, 2)),
        "tail": tensor(stored, 8, (2,), (1,)),
        "s": tensor(stored, 9, (), ()),
    }
    found = read(zip_of(PROTO + state_dict(values) + pickle.STOP, {"0": numbers.tobytes()}), tmp_path)
    np.testing.assert_array_equal(found["t"], numbers[1:7].reshape(3, 2).T)
    assert found["tail"].tolist() == [8, 9] and found["s"].shape == () and found["s"] == 9


def zip_with(value: bytes, data: bytes = bytes(16)) -> bytes:
    return zip_of(PROTO + state_dict({"x": value}) + pickle.STOP, {"0": data})


def hostile() -> dict[str, tuple[bytes, str]]:
    """{what it tries: (file, what is said)}."""
    floats = storage("0", "FloatStorage", 4)

    def view(offset, sizes, strides, stored=floats):
        return zip_with(tensor(stored, offset, sizes, strides))

    def stored_as(key, kind, count):
        return view(0, (4,), (1,), storage(key, kind, count))

    command = text("touch executed")
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    good, row = torch_files.as_zip(ARRAYS), torch_files.as_row(ARRAYS)
    call = name("os", "system") + pickle.MARK + command + pickle.TUPLE + pickle.REDUCE
    stored = tensor(storage("0", "FloatStorage", 24), 0, (24,), (1,)) + pickle.BINPUT + b"\1"
    names = state_dict({f"x{i}": pickle.BINGET + b"\1" if i else stored for i in range(1000)})
    loop = pickle.EMPTY_DICT + pickle.BINPUT + b"\5" + text("model") + pickle.BINGET + b"\5" + pickle.SETITEM
    return {
        "os.system": (zip_with(call), "asks for 'os', 'system', which no checkpoint needs: refused"),
        "os.system in a row": (row.replace(PROTO + torch_files.VERSION, PROTO + call), "asks for 'os', 'system'"),
        "a new os.system": (zip_with(name("os", "system") + pickle.EMPTY_TUPLE + pickle.NEWOBJ), "asks for 'os'"),
        "torch.load": (zip_with(name("torch", "load")), "asks for 'torch', 'load'"),
        "torch.jit": (zip_with(name("torch.jit._pickle", "build_intlist")), "asks for 'torch.jit._pickle'"),
        "a state of a tensor": (
            zip_with(tensor(floats, 0, (4,), (1,)) + pickle.NONE + pickle.BUILD),
            "a Tensor is given",
        ),
        "a tensor past the end": (view(1, (4,), (1,)), "does not fit its storage"),
        "a tensor blown up": (view(0, (4, 4, 4), (0, 0, 1)), "does not fit its storage"),
        "10^9 by 10^9": (view(0, (10**9, 10**9), (0, 0)), "does not fit its storage"),
        "a negative stride": (view(3, (4,), (-1,)), "does not fit its storage"),
        "a negative place": (view(-1, (1,), (1,)), "does not fit its storage"),
        "shape and strides of two ranks": (view(0, (2, 2), (1,)), "does not fit its storage"),
        "a storage of 2^62": (stored_as("0", "FloatStorage", 2**62), "bad reference"),
        "a storage of 2^39": (stored_as("0", "FloatStorage", 2**39), "has 16 bytes, not"),
        "a storage of a function": (stored_as("0", "load", 4), "asks for 'torch', 'load'"),
        "a storage elsewhere": (stored_as("../x", "FloatStorage", 4), "lacks data/../x"),
        "two storages of one key": (
            zip_with(
                tensor(floats, 0, (4,), (1,)) + pickle.POP + tensor(storage("0", "HalfStorage", 8), 0, (4,), (1,))
            ),
            "two storages called '0'",
        ),
        "one tensor with 1000 names": (zip_of(PROTO + names + pickle.STOP, {"0": bytes(96)}), "larger than the file"),
        "one tensor with 1000 names in a row": (torch_files.as_row(ARRAYS, lambda _: names), "larger than the file"),
        "a list of tensors": (zip_of(PROTO + pickle.EMPTY_LIST + pickle.STOP, {}), "holds a list, not a dict"),
        "a dict of itself": (zip_of(PROTO + loop + pickle.STOP, {}), "holds no tensors"),
        "nothing": (b"", "neither a file of torch.save nor safetensors"),
        "a text file": (b"weights = 1\n" * 9, "neither a file of torch.save nor safetensors"),
        "a pickle of another program": (pickle.dumps({"a": 1}, 2), "a pickle, but not of torch.save"),
        "a zip of another program": (_zip({"readme.txt": b"x"}), "torch.save did not write"),
        "two pickles in one zip": (_zip({"a/data.pkl": b"", "b/data.pkl": b""}), "torch.save did not write"),
        "a compressed zip": (
            zip_of(bytes(1 << 20), {}, zipfile.ZIP_DEFLATED),
            "compressed, which torch.save never does",
        ),
        "a directory of 1 GB": (good[:-10] + struct.pack("<I", 1 << 30) + good[-6:], "a zip with a directory of more"),
        "a directory of 1 TB": (torch_files.with_large_end(good, 1 << 40), "a zip with a directory of more"),
        "a zip without an end": (good[:-30], "a damaged zip"),
        "a changed number": (good.replace(ARRAYS["b.weight"].tobytes(), bytes(48)), "a damaged zip: Bad CRC-32"),
        "a machine of another order": (
            _zip({"a/data.pkl": PROTO + pickle.EMPTY_DICT + pickle.STOP, "a/byteorder": b"big"}),
            "the other byte order",
        ),
        "a row cut off": (row[:-1], "another size than its tensors say"),
        "a row with another count": (row.replace(struct.pack("<q", 24), struct.pack("<q", 25)), "another size"),
        "a header of 2^63": (b"\0" * 7 + b"\x80{" + b"x" * 99, "a header longer than the file"),
        "a header that is no JSON": (safetensors_of(b"{'a'", b""), "a header that is no JSON"),
        "lists of depth 100,000": (safetensors_of(b'{"a":' + b"[" * 100_000, b""), "a header that is no JSON"),
        "data past the end": (safetensors_of(header, bytes(4)), "bad entry of 'x'"),
        "another size than the shape": (
            safetensors_of(header.replace(b"[2]", b"[3]"), bytes(8)),
            "another size than its",
        ),
        "sizes of 2000 bits": (safetensors_of(header.replace(b"[2]", b"[%d, 0]" % 2**2000), bytes(8)), "another size"),
        "a truth for a size": (safetensors_of(header.replace(b"[2]", b"[true]"), bytes(8)), "bad entry of 'x'"),
        "one block for many": (
            safetensors_of(header[:-1] + b"," + header[1:].replace(b'"x"', b'"y"'), bytes(8)),
            "another size than its shape",
        ),
    }


def _zip(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for key, data in entries.items():
            archive.writestr(key, data)
    return file.getvalue()


HOSTILE = hostile()


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_end_in_an_error_that_names_them(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, message = HOSTILE[what]
    started = time.process_time()
    with pytest.raises(CheckpointError) as error:
        read(data, tmp_path)
    assert time.process_time() - started < 1
    said = str(error.value)
    assert said.startswith(f"checkpoint {tmp_path / 'weights.pth'}: ") and message in said
    assert "\n" not in said and len(said) < 400 + len(str(tmp_path))
    assert os.listdir(tmp_path) == ["weights.pth"]


def test_pickles_that_mean_harm_do_none_in_any_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = torch_files.as_row(ARRAYS)
    for number, (what, pickled) in enumerate(hostile_pickles.hostile().items()):
        data = pickled if number % 3 == 0 else zip_of(pickled, {}) if number % 3 == 1 else row[:46] + pickled
        with pytest.raises(CheckpointError) as error:
            read(data, tmp_path)
        assert "\n" not in str(error.value), what
    assert os.listdir(tmp_path) == ["weights.pth"]


def test_no_file_no_regular_file_too_large_a_file(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.pth: No such file"):
        torch_file.read(str(tmp_path / "nowhere.pth"))
    with pytest.raises(CheckpointError, match="not a regular file"):
        torch_file.read(str(tmp_path))
    read(torch_files.as_zip(ARRAYS), tmp_path)
    with pytest.raises(CheckpointError, match="more than the 100 that are allowed"):
        torch_file.read(str(tmp_path / "weights.pth"), max_bytes=100)


def test_mutated_files_give_arrays_or_an_error(tmp_path):
    rng, errors = random.Random(0), 0
    files = [make(ARRAYS) for make in FORMATS.values()]
    for number in range(300):
        data = bytearray(files[number % 3])
        for _ in range(rng.choice((1, 1, 3))):
            place = rng.randrange(len(data))
            data[place : place + rng.choice((0, 1, 1, 8))] = rng.randbytes(rng.choice((0, 1, 1, 8)))
        try:
            found = read(bytes(data), tmp_path)
        except CheckpointError as error:
            errors += 1
            assert "\n" not in str(error), number
        else:
            assert all(type(values) is np.ndarray and values.dtype.kind in "fiub" for values in found.values())
            assert sum(values.nbytes for values in found.values()) <= 2 * len(data)
    assert 100 < errors < 300  # the rest changed a number, a name, or nothing
