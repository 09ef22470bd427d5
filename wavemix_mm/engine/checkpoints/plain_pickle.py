"""Python's own unpickler with the operations that torch writes; it calls nothing.

It makes builtin values and the records of `records.py` alone, each of which pays for the
memory that it takes.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, ClassVar

from wavemix_mm.engine.checkpoints.records import Budget, Call, Name, Storage, expect
from wavemix_mm.engine.checkpoints.safe_globals import STORAGES, check_name

# The operations, by the bytes that each takes in memory above those of the file; 16 of them are a
# place on the stack and one in a list.
_OPERATIONS = {
    0: "APPEND APPENDS BINPUT BUILD PROTO SETITEM SETITEMS TUPLE",
    16: "BINGET BINUNICODE EMPTY_TUPLE LONG_BINGET NEWFALSE NEWTRUE NONE",
    48: "BINFLOAT BININT BININT1 BININT2 SHORT_BINSTRING",
    100: "EMPTY_LIST LONG1 LONG_BINPUT MARK TUPLE1 TUPLE2 TUPLE3",
    250: "BINPERSID EMPTY_DICT GLOBAL NEWOBJ REDUCE",
}
_COSTS = {
    getattr(pickle, name)[0]: cost for cost in _OPERATIONS for name in _OPERATIONS[cost].split()
}


class Unpickler(pickle._Unpickler):
    """Reader of a pickle's records.

    Args:
        stream: Where the pickle begins.
        size: Bytes of the file.
        budget: What the records may take.

    Attributes:
        storages: The storages that the pickle describes, by key.
    """

    def __init__(self, stream: BinaryIO, size: int, budget: Budget) -> None:
        super().__init__(stream, encoding="utf-8")
        # names are short
        self.read, self.readline = stream.read, partial(stream.readline, 1000)
        self.size, self.pay = size, budget.pay
        self.storages: dict[str, Storage] = {}

    def load(self) -> Any:
        """Return the next pickle's value.

        Raises:
            Unreadable: If it needs other names, or too much time or memory.
            Exception: Of any kind, if it is damaged.
        """
        self.memo: dict[int, Any] = {}
        self.metastack: list[list] = []
        self.stack: list[Any] = []
        self.append = self.stack.append
        self.proto = 0
        while (key := self.read(1)) != pickle.STOP:
            if not key:
                raise EOFError
            self.pay(_COSTS[key[0]])
            self.dispatch[key[0]](self)
        return self.stack.pop()

    def find_class(self, module: str, name: str) -> Name:
        """Return a name."""
        return check_name(f"{'builtins' if module == '__builtin__' else module}.{name}")

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that torch describes in this way."""
        expect(type(pid) is tuple and len(pid) <= 6)
        kind, key, _, numel, *view = pid[1:]
        # only a name is looked up: the hash of nested tuples could take an exponential time
        expect(pid[0] == "storage" and type(kind) is Name and kind in STORAGES and not any(view))
        expect(type(key) is str and type(numel) is int and numel >= 0)
        self.storages[key] = Storage(key, numel, STORAGES[kind])
        return self.storages[key]

    def _empty_dict(self) -> None:
        self.append(Call("builtins.dict", ()))

    def _call(self) -> None:
        arguments, name = self.stack.pop(), self.stack[-1]
        expect(type(name) is Name and type(arguments) is tuple)
        self.stack[-1] = Call(name, arguments)

    def _setitems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        expect(type(self.stack[-1]) is Call and len(items) % 2 == 0)
        self.stack[-1].items += items

    def _build(self) -> None:
        state = self.stack.pop()
        expect(type(self.stack[-1]) is Call)
        self.stack[-1].state = state

    def _binunicode(self) -> None:
        # a file makes room for as many bytes as it is asked for
        length = min(int.from_bytes(self.read(4), "little"), self.size)
        raw = self.read(length)
        if any(byte in raw for byte in range(0xF0, 0xF5)):  # 4 bytes for each character
            self.pay(8 * length)  # before the memory is taken
        text = str(raw, "utf-8", "surrogatepass")
        self.pay(sys.getsizeof(text))
        self.append(text)

    dispatch: ClassVar[dict[int, Callable]] = {  # noqa: RUF012
        **{operation: pickle._Unpickler.dispatch[operation] for operation in _COSTS},
        pickle.EMPTY_DICT[0]: _empty_dict,
        pickle.REDUCE[0]: _call,
        pickle.NEWOBJ[0]: _call,
        pickle.SETITEMS[0]: _setitems,
        pickle.BUILD[0]: _build,
        pickle.BINUNICODE[0]: _binunicode,
    }
