"""A machine for pickles that imports nothing and calls nothing but functions of ours.

A pickle is a program, and Python's unpickler runs it: it imports what the file names and calls it. This machine knows
the 41 opcodes that files of arrays need. Its values are numbers, texts, bytes, tuples, lists, dicts and `Name`s from
an allow-list; a "call" of a name runs a function of ours. No import, attribute or class ever comes from the file.

What bounds the work: each read is checked against the length of the file first, there is a limit to the number of
opcodes, each takes time in proportion to what it reads or takes from the stack, and `spend` counts what is used again.
"""

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

MAX_OPCODES = 120_000  # twice what the largest released file needs; an eighth of a second
_MAX_NAME = 300  # characters of a key or a global name
_MAX_TEXT = 1 << 16  # bytes; longer texts must be Latin-1, in which protocol 2 stores bytes


class CheckpointError(ValueError):
    """A file is no checkpoint of the released layout, or a damaged or hostile one; one line with file and reason."""


class Name(NamedTuple):
    """A name that a file may use.

    Attributes:
      name: for messages.
      call: call(machine, arguments) stands for a call of it; None if it is only ever an argument.
    """

    name: str
    call: Callable[["Machine", tuple], Any] | None = None


class Machine:
    """One reading of one file: a stack, the places of the marks in it, and the memo.

    Args:
      file: at the start of the pickle.
      size: bytes in the file; the pickle must end there.
      names: {(module, name): what it stands for}, all that the file may name.
    """

    def __init__(self, file: io.BufferedIOBase, size: int, names: Mapping[tuple[str, str], Name]):
        self.file, self.size, self.names = file, size, names
        self.position = 0
        self.spent = 0
        self.stack, self.marks, self.memo = [], [], {}

    def run(self):
        """The value that the pickle describes.

        Raises:
          CheckpointError: an opcode or a name that is not known here, or a damaged file.
        """
        if self.size < 2 or self.take(1) != pickle.PROTO or self.number("B") not in (2, 3, 4, 5):
            raise CheckpointError("not a pickle of protocol 2 to 5")
        for _ in range(MAX_OPCODES):
            code = self.take(1)
            if code == pickle.STOP:
                return self.finish()
            operation = self.operation(code)
            if operation is None:
                raise CheckpointError(f"opcode {code!r}, which no checkpoint needs")
            operation(self)
        raise CheckpointError(f"more than {MAX_OPCODES} opcodes")

    def operation(self, code: bytes) -> Callable[["Machine"], None] | None:
        """What an opcode does; None: it is not known."""
        return _OPERATIONS.get(code)

    def finish(self):
        root = self.pop()
        if self.stack or self.marks:
            raise CheckpointError("damaged: values are left over at the end")
        if self.position != self.size:
            raise CheckpointError(f"damaged: {self.size - self.position} bytes follow the end of the pickle")
        return root

    # Reading.

    def take(self, count: int) -> bytes:
        if count > self.size - self.position:
            raise CheckpointError("the file ends too early")
        data = self.file.read(count)
        if len(data) != count:
            raise CheckpointError("the file became shorter while it was read")
        self.position += count
        return data

    def number(self, form: str) -> int:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(form)))[0]

    def text(self, form: str) -> str:
        data = self.take(self.number(form))
        # A text of Latin-1 takes one byte a character in memory; any other could take four times its length.
        if len(data) > _MAX_TEXT and np.frombuffer(data, np.uint8).max() > 0xC3:
            raise CheckpointError(f"a text of {len(data)} bytes")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise CheckpointError("damaged: a text that is not UTF-8") from None

    def line(self) -> str:
        data = self.file.readline(_MAX_NAME)
        self.position += len(data)
        if not data.endswith(b"\n") or not data.isascii():
            raise CheckpointError("damaged: a name without an end")
        return data[:-1].decode("ascii")

    def spend(self, count: int) -> None:
        """Counts bytes that are used once more; keeps a file from blowing up a few of them to many."""
        self.spent += count
        if self.spent > 2 * self.size:
            raise CheckpointError("its arrays are larger than the file")

    # The stack.

    def push(self, value) -> None:
        self.stack.append(value)

    def pop(self, kind: type | None = None):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise CheckpointError("damaged: a value is missing")
        value = self.stack.pop()
        if kind is not None and type(value) is not kind:
            raise CheckpointError(f"damaged: {describe(value)} in the place of a {kind.__name__}")
        return value

    def top(self, kind: type | None = None):
        value = self.pop(kind)
        self.stack.append(value)
        return value

    def pop_marked(self) -> list:
        if not self.marks:
            raise CheckpointError("damaged: a mark is missing")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise CheckpointError(f"damaged: value {index} was never stored")
        self.push(self.memo[index])

    # Containers, names and calls.

    def new_tuple(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def extend(self, values: list) -> None:
        self.top(list).extend(values)

    def set_items(self, items: list) -> None:
        if len(items) % 2:
            raise CheckpointError("damaged: a key without a value")
        mapping = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str or len(key) > _MAX_NAME:
                raise CheckpointError(f"damaged: {describe(key)} in the place of a key")
            mapping[key] = value

    def push_name(self, module: str, name: str) -> None:
        if (module, name) not in self.names:
            raise CheckpointError(f"asks for {module[:80]!r}, {name[:80]!r}, which no checkpoint needs: refused")
        self.push(self.names[module, name])

    def reduce(self) -> None:
        arguments = self.pop(tuple)
        self.push(self.call(self.pop(), arguments))

    def call(self, name, arguments: tuple):
        if type(name) is not Name or name.call is None:
            raise CheckpointError(f"damaged: {describe(name)} is called")
        return name.call(self, arguments)

    def build(self) -> None:
        state = self.pop(tuple)
        target = self.top()
        if not hasattr(target, "set_state"):  # our own objects alone have it
            raise CheckpointError(f"damaged: {describe(target)} is given a state")
        target.set_state(self, state)


def describe(value) -> str:
    """What a value is, for messages; never its contents, which may be huge."""
    return f"the name {value.name}" if type(value) is Name else f"a {type(value).__name__}"


_OPERATIONS: dict[bytes, Callable[[Machine], None]] = {
    pickle.FRAME: lambda m: m.take(8),  # a hint for the reader; the data stand in the file one after another
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(m.number("i")),
    pickle.BININT1: lambda m: m.push(m.number("B")),
    pickle.BININT2: lambda m: m.push(m.number("H")),
    pickle.LONG1: lambda m: m.push(int.from_bytes(m.take(m.number("B")), "little", signed=True)),
    pickle.BINFLOAT: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.text("B")),
    pickle.BINUNICODE: lambda m: m.push(m.text("I")),
    pickle.BINUNICODE8: lambda m: m.push(m.text("Q")),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.take(m.number("B"))),
    pickle.BINBYTES: lambda m: m.push(m.take(m.number("I"))),
    pickle.BINBYTES8: lambda m: m.push(m.take(m.number("Q"))),
    pickle.BYTEARRAY8: lambda m: m.push(m.take(m.number("Q"))),
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.SETITEM: lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    pickle.SETITEMS: lambda m: m.set_items(m.pop_marked()),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.APPEND: lambda m: m.extend([m.pop()]),
    pickle.APPENDS: lambda m: m.extend(m.pop_marked()),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_marked())),
    pickle.TUPLE1: lambda m: m.new_tuple(1),
    pickle.TUPLE2: lambda m: m.new_tuple(2),
    pickle.TUPLE3: lambda m: m.new_tuple(3),
    pickle.POP: lambda m: m.pop(),
    pickle.POP_MARK: lambda m: m.pop_marked(),
    pickle.BINPUT: lambda m: m.remember(m.number("B")),
    pickle.LONG_BINPUT: lambda m: m.remember(m.number("I")),
    pickle.MEMOIZE: lambda m: m.remember(len(m.memo)),
    pickle.BINGET: lambda m: m.recall(m.number("B")),
    pickle.LONG_BINGET: lambda m: m.recall(m.number("I")),
    pickle.GLOBAL: lambda m: m.push_name(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.push_name(*[m.pop(str), m.pop(str)][::-1]),
    pickle.REDUCE: lambda m: m.reduce(),
    pickle.BUILD: lambda m: m.build(),
}
