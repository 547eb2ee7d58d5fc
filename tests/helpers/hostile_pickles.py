"""Pickles that mean harm, and mutations of good ones; for the tests and benchmarks/faults/fuzz_unpickle.py."""

import functools
import pickle
import pickletools
import random
import struct

OPCODES = [value for name, value in vars(pickle).items() if name.isupper() and type(value) is bytes and len(value) == 1]
HEAD = pickle.PROTO + b"\x04"


def text(value: str) -> bytes:
    data = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + pickle.STACK_GLOBAL


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def integer(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return pickle.LONG1 + bytes([len(data)]) + data


def dtype(code: str) -> bytes:
    return call(name("numpy", "dtype"), text(code), pickle.NEWFALSE, pickle.NEWTRUE)


def shape(*sizes: int) -> bytes:
    return pickle.MARK + b"".join(map(integer, sizes)) + pickle.TUPLE


def array(sizes: bytes, kind: bytes, data: bytes = b"\0\0\0\0") -> bytes:
    raw = pickle.BINBYTES + struct.pack("<I", len(data)) + data
    made = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), shape(0), text("b"))
    return made + pickle.MARK + integer(1) + sizes + kind + pickle.NEWFALSE + raw + pickle.TUPLE + pickle.BUILD


def inside(value: bytes) -> bytes:
    """A whole checkpoint, all well but for one value in it."""

    def mapping(key, value):
        return pickle.EMPTY_DICT + text(key) + value + pickle.SETITEM

    good = mapping("m", mapping("average", array(shape(1), dtype("f4"))))
    bad = mapping("m", mapping("w", value))
    items = text("params") + bad + text("state") + good
    return HEAD + pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def hostile() -> dict[str, bytes]:
    """{what it tries: the file}."""
    command = text("touch executed")
    long_text = text("x" * 301)
    files = {
        "os.system": call(name("os", "system"), command),
        "posix.system": call(name("posix", "system"), command),
        "os.system by GLOBAL": call(pickle.GLOBAL + b"os\nsystem\n", command),
        "eval": call(name("builtins", "eval"), text("open('executed', 'w')")),
        "exec": call(name("builtins", "exec"), text("open('executed', 'w')")),
        "getattr": call(name("builtins", "getattr"), name("numpy", "ndarray"), text("tofile")),
        "import": call(name("builtins", "__import__"), text("antigravity")),
        "subprocess": call(name("subprocess", "Popen"), command),
        "a dotted name": call(name("numpy", "ndarray.tofile"), text("executed")),
        "a name behind an allowed module": call(name("numpy", "load"), text("executed")),
        "numpy's test runner": call(name("numpy.testing._private.utils", "runstring"), text("1"), pickle.EMPTY_DICT),
        "dill's code loader": call(name("dill._dill", "_load_type"), text("CodeType")),
        "dill's importer": call(name("dill._dill", "_import_module"), text("antigravity")),
        "haiku's other names": call(name("haiku._src.data_structures", "to_immutable_dict"), pickle.EMPTY_DICT),
        "jax with another function inside": call(
            name("jax._src.array", "_reconstruct_array"),
            name("os", "system"),
            pickle.MARK + command + pickle.TUPLE,
            pickle.NONE,
            pickle.NONE,
        ),
        "jax around an encoder": call(
            name("jax._src.array", "_reconstruct_array"),
            name("_codecs", "encode"),
            pickle.MARK + command + text("latin1") + pickle.TUPLE,
            pickle.EMPTY_TUPLE,
            pickle.NONE,
        ),
        "another codec": call(name("_codecs", "encode"), command, text("zlib_codec")),
        "a call of what was called": call(call(name("numpy", "dtype"), text("f4")), command),
        "a call of a text": call(text("os.system"), command),
        "INST": pickle.MARK + command + pickle.INST + b"os\nsystem\n",
        "OBJ": pickle.MARK + name("numpy", "dtype") + command + pickle.OBJ,
        "NEWOBJ": name("numpy", "dtype") + pickle.EMPTY_TUPLE + pickle.NEWOBJ,
        "NEWOBJ_EX": name("numpy", "dtype") + pickle.EMPTY_TUPLE + pickle.EMPTY_DICT + pickle.NEWOBJ_EX,
        "EXT1": pickle.EXT1 + b"\x01",
        "EXT4": pickle.EXT4 + b"\xff\xff\xff\x7f",
        "a persistent id": pickle.PERSID + b"0\n",
        "a binary persistent id": pickle.NONE + pickle.BINPERSID,
        "a buffer from outside": pickle.NEXT_BUFFER,
        "attributes of a dict": pickle.EMPTY_DICT
        + pickle.EMPTY_DICT
        + text("__class__")
        + pickle.NONE
        + pickle.SETITEM
        + pickle.BUILD,
        "a state for a name": name("numpy", "ndarray") + pickle.EMPTY_TUPLE + pickle.BUILD,
        "a second state": array(shape(1), dtype("f4")) + pickle.MARK + pickle.NONE * 5 + pickle.TUPLE + pickle.BUILD,
        "objects": array(shape(1), dtype("O8"), b"\0" * 8),
        "records": array(shape(1), dtype("V4")),
        "texts of 4 GB": array(shape(1), dtype("U1000000000")),
        "dates": array(shape(1), dtype("M8")),
        "10^9 elements": array(shape(10**9), dtype("f4")),
        "10^9 by 10^9 elements": array(shape(10**9, 10**9), dtype("f4")),
        "elements beyond 64 bits": array(shape(*[2**62] * 8), dtype("f4")),
        "a product that wraps to 4": array(shape(2**32, 2**32, 1), dtype("f4")),
        "sizes of 2000 bits": array(shape(*[2**2000] * 8), dtype("f4")),
        "a size below zero": array(shape(-1), dtype("f4")),
        "two sizes below zero": array(shape(-1, -1), dtype("f4")),
        "no elements and too many": array(shape(0, 2**62, 2**62), dtype("f4"), b""),
        "100,000 axes": array(shape(*[1] * 100_000), dtype("f4")),
        "a truth as a size": array(pickle.MARK + pickle.NEWTRUE + pickle.TUPLE, dtype("f4")),
        "a list as a shape": array(pickle.EMPTY_LIST, dtype("f4")),
        "an array as its own shape": array(array(shape(1), dtype("f4")), dtype("f4")),
        "a text of 2^63 bytes": pickle.BINUNICODE8 + b"\xff" * 7 + b"\x7f",
        "a text of 2^64 bytes": pickle.BINUNICODE8 + b"\xff" * 8,
        "bytes of 2^62": pickle.BINBYTES8 + b"\0" * 7 + b"\x40",
        "a byte array of 2^40": pickle.BYTEARRAY8 + b"\0" * 5 + b"\1\0\0",
        "an integer of 2 GB": pickle.LONG4 + b"\xff\xff\xff\x7f",
        "an integer of less than no bytes": pickle.LONG4 + b"\xff\xff\xff\xff",
        "a decimal integer of 100,000 digits": pickle.LONG + b"9" * 100_000 + b"L\n",
        "a memo index of 2^32": pickle.NONE + pickle.LONG_BINPUT + b"\xff\xff\xff\xff" + pickle.NONE,
        "a textual memo index": pickle.NONE + pickle.PUT + b"9" * 10_000 + b"\n",
        "a memo that is empty": pickle.LONG_BINGET + b"\0\0\0\1",
        "a frame of 2^63": pickle.FRAME + b"\xff" * 8 + pickle.NONE,
        "a list of itself": pickle.EMPTY_LIST + pickle.MEMOIZE + pickle.BINGET + b"\0" + pickle.APPEND,
        "a dict of itself": pickle.EMPTY_DICT + pickle.MEMOIZE + text("a") + pickle.BINGET + b"\0" + pickle.SETITEM,
        "a tuple of depth 300,000": pickle.EMPTY_TUPLE + pickle.TUPLE1 * 300_000,
        "a tuple of depth 300,000 as a key": pickle.EMPTY_DICT
        + pickle.EMPTY_TUPLE
        + pickle.TUPLE1 * 300_000
        + pickle.NONE
        + pickle.SETITEM,
        "lists of depth 100,000": pickle.EMPTY_LIST * 100_000 + pickle.APPEND * 99_999,
        "2^60 values by doubling": _doubling(60),
        "a key that is a list": pickle.EMPTY_DICT + pickle.EMPTY_LIST + pickle.NONE + pickle.SETITEM,
        "a key of 301 characters": pickle.EMPTY_DICT + long_text + pickle.NONE + pickle.SETITEM,
        "a million marks": pickle.MARK * 1_000_000,
        "a million values": pickle.NONE * 1_000_000,
        "values and pops": (pickle.NONE + pickle.POP) * 1_000_000,
        "one MB used by 1000 arrays": _reuse(1 << 20, 1000),
        "a text of four bytes a character": text("\N{GRINNING FACE}" + "a" * 1_000_000),
        "more popped than pushed": pickle.POP * 3,
        "a mark that is popped": pickle.MARK + pickle.POP,
        "a tuple across a mark": pickle.NONE + pickle.MARK + pickle.TUPLE1,
        "an odd number of items": pickle.EMPTY_DICT + pickle.MARK + text("a") + pickle.SETITEMS,
        "a text that is not UTF-8": pickle.SHORT_BINUNICODE + b"\2\xff\xff",
        "NaN as a module": pickle.BINFLOAT + b"\x7f\xf8" + b"\0" * 6,
    }
    whole = {what: inside(value) for what, value in files.items()}
    good = inside(array(shape(1), dtype("f4")))
    whole.update(
        {
            "nothing": b"",
            "one byte": b"\x80",
            "zeros": bytes(1000),
            "a text file": b"params = 1\n" * 100,
            "protocol 0": pickle.dumps({"params": {}, "state": {}}, 0),
            "protocol 9": b"\x80\x09" + good[2:],
            "only a stop": HEAD + pickle.STOP,
            "a second pickle behind": good + good,
            "bytes behind": good + b"\0",
            "a list": pickle.dumps([1, 2]),
            "no state": pickle.dumps({"params": {"a": {}}}, 4),
            "empty": pickle.dumps({"params": {}, "state": {}}, 4),
            "three levels": pickle.dumps({"params": {"a": {"b": {"c": 1}}}, "state": {"a": {}}}, 4),
            "numbers for arrays": pickle.dumps({"params": {"a": {"b": 1.0}}, "state": {"a": {}}}, 4),
            "an array that was never filled": inside(
                call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), shape(0), text("b"))
            ),
            "one mapping of 1000 arrays as 1000 modules": _shared(1, 1000, 1000),
            "one MB with 1000 names": _shared(1 << 18, 1, 1000),
        }
    )
    return whole


def _doubling(times: int) -> bytes:
    """A pair of the same pair of the same pair ...: small in memory, endless for whoever walks through it."""
    out = pickle.EMPTY_LIST + pickle.MEMOIZE + pickle.POP
    for i in range(times):
        out += 2 * (pickle.BINGET + bytes([i])) + pickle.TUPLE2 + pickle.MEMOIZE + pickle.POP
    return out + pickle.BINGET + bytes([times])


def _reuse(size: int, times: int) -> bytes:
    """One block of bytes, from which many arrays of another byte order are asked, so that each needs a copy."""
    block = pickle.BINBYTES + struct.pack("<I", size) + bytes(size) + pickle.BINPUT + b"\x05" + pickle.POP
    state = pickle.MARK + integer(3) + text(">") + pickle.NONE * 3 + integer(-1) * 2 + integer(0) + pickle.TUPLE
    kind = dtype("f4") + state + pickle.BUILD
    get = pickle.BINGET + b"\x05"
    one = call(name("numpy.core.numeric", "_frombuffer"), get, kind, shape(size // 4), text("C"))
    return block + pickle.MARK + one * times + pickle.TUPLE


def _shared(size: int, leaves: int, modules: int) -> bytes:
    """A checkpoint with one array of `size` numbers under all names of a mapping, and that as all of its modules."""

    def named(value, slot, count):
        """A mapping of many names, all of one value."""
        stored, again = value + pickle.BINPUT + slot, pickle.BINGET + slot
        items = [text(f"x{i}") + (again if i else stored) for i in range(count)]
        return pickle.EMPTY_DICT + pickle.MARK + b"".join(items) + pickle.SETITEMS

    one = named(array(shape(size), dtype("f4"), bytes(4 * size)), b"\x01", leaves)
    params = text("params") + named(one, b"\x02", modules) + pickle.BINPUT + b"\x03"
    items = params + text("state") + pickle.BINGET + b"\x03"
    return HEAD + pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


@functools.cache
def tokens(data: bytes) -> tuple[bytes, ...]:
    """A good file, cut into opcodes with their arguments."""
    starts = [position for _, _, position in pickletools.genops(data)]
    return tuple(data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True))


def reorder(files: list[bytes], rng: random.Random) -> bytes:
    """A good file with one to eight whole opcodes left out, doubled, moved, or taken from another: deep damage."""
    parts = list(tokens(rng.choice(files)))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(parts))
        kind = rng.randrange(6)
        if kind == 0:
            del parts[at]
        elif kind == 1:
            parts.insert(at, parts[at])
        elif kind == 2:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif kind == 3:
            parts[at] = rng.choice(tokens(rng.choice(files)))
        elif kind == 4:
            parts.insert(at, rng.choice(tokens(rng.choice(files))))
        else:
            end = at + rng.randrange(1, 12)
            parts[at:at] = parts[at:end]
        parts = parts or [b"\x80"]
    return b"".join(parts)


def mutate(files: list[bytes], rng: random.Random) -> bytes:
    """A good file with one to eight changes: bits, bytes, opcodes, lengths, cuts, copies, parts of another file."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, end = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
        low, high = min(at, end), max(at, end)
        kind = rng.randrange(10)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2 and at < len(data):
            data[at : at + 1] = rng.choice(OPCODES)
        elif kind == 3:
            data[at:at] = rng.choice(OPCODES)
        elif kind == 4:
            del data[at : at + rng.choice((1, 2, 4, 16))]
        elif kind == 5:
            del data[at:]
        elif kind == 6:
            data[at:at] = data[low : min(high, low + 64)]
        elif kind == 7:
            data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x40"))
        elif kind == 8:
            other = rng.choice(files)
            start = rng.randrange(len(other) + 1)
            data[low:high] = other[start : start + rng.randrange(1, 256)]
        else:
            data[at:at] = rng.choice((name("os", "system"), text("echo") + pickle.TUPLE1 + pickle.REDUCE, pickle.BUILD))
        if not data:
            data = bytearray(b"\x80")
    return bytes(data)
