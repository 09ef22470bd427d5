"""Python's own unpickler with the operations that torch writes, made safe and bounded.

It makes builtin values, tensors, and the stand-ins of `safe_globals.py`, nothing else. Each
operation pays for the memory that it takes, out of a budget in proportion to the file's size.
"""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, BinaryIO, ClassVar

import torch
from mmengine.logging import HistoryBuffer

from wavemix_mm.engine.checkpoints.safe_globals import (
    STORAGES,
    Array,
    Dtype,
    Mapping,
    Storage,
    check_key,
    find_name,
    refuse,
    set_history,
)

# Bytes that an operation takes, above those of the file; 16 are a place on the
# stack and one in a list.
_COSTS = [16] * 256
for _name, _cost in (
    *(("MARK", 72), ("EMPTY_LIST", 72), ("EMPTY_DICT", 72), ("SETITEM", 100), ("BINPUT", 16)),
    *(("LONG_BINPUT", 100), ("TUPLE", 56), ("TUPLE1", 56), ("TUPLE2", 64), ("TUPLE3", 72)),
    *(("REDUCE", 800), ("NEWOBJ", 800), ("BINPERSID", 400), ("GLOBAL", 100)),
    *(("BINFLOAT", 32), ("BININT", 40), ("LONG1", 100), ("BINUNICODE", 64)),
):
    _COSTS[getattr(pickle, _name)[0]] = _cost
# Bytes that a function takes for each element of an argument, if it copies the argument.
_COPY_COSTS = {dict: 100, list: 100, str: 1, bytes: 1}


class Unpickler(pickle._Unpickler):
    """Python's own unpickler with the operations that torch writes, made safe.

    Args:
        stream: Where the pickle begins.
        size: Bytes of the file, to which time and memory are held in proportion.
        find_storage: Function that returns a storage's numbers, or None to make None of tensors.
            Its arguments are the storage's key, the number of its elements, and the bytes of each.
    """

    def __init__(
        self,
        stream: BinaryIO,
        size: int,
        find_storage: Callable[[str, int, int], torch.UntypedStorage | None],
    ) -> None:
        super().__init__(stream, encoding="utf-8")
        self.read, self.readline = stream.read, stream.readline
        self.memo: dict[int, Any] = {}
        self.size, self.left = size, (32 << 20) + 4 * size
        self.find_storage = find_storage

    def load(self) -> Any:
        """Return the pickle's value, of plain values and stand-ins.

        Raises:
            Unreadable: If it needs other names, or too much time or memory.
            Exception: Of any kind, if it is damaged.
        """
        self.metastack: list[list] = []
        self.stack: list[Any] = []
        self.append = self.stack.append
        self.proto = 0
        while key := self.read(1):
            if key == pickle.STOP:
                return self.stack.pop()
            self.pay(_COSTS[key[0]])
            self.dispatch[key[0]](self)
        raise EOFError

    def pay(self, cost: int) -> None:
        """Take some bytes from the budget."""
        self.left -= cost
        if self.left < 0:
            refuse("it takes much more memory than its size")

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        return find_name(f"{'builtins' if module == '__builtin__' else module}.{name}")

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that torch describes in this way."""
        if type(pid) is not tuple or not 5 <= len(pid) <= 6 or pid[0] != "storage" or any(pid[5:]):
            refuse("a storage is not described as torch describes it")
        _, kind, key, _, numel = pid[:5]
        # only a class is looked up: the hash of nested tuples could take an exponential time
        dtype = STORAGES.get(kind) if isinstance(kind, type) else None
        if dtype is None or type(key) is not str or type(numel) is not int or numel < 0:
            refuse("a storage is not described as torch describes it")
        itemsize = torch.empty(0, dtype=dtype).element_size()
        return Storage(self.find_storage(key, numel, itemsize), dtype)

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        # no function but a handler is ever on the stack
        if type(function) is not FunctionType or type(arguments) is not tuple:
            refuse("it calls something that is no function")
        for item in arguments:
            if type(item) in _COPY_COSTS:
                self.pay(_COPY_COSTS[type(item)] * len(item))
        self.stack[-1] = function(*arguments)

    def _newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack[-1]
        if kind is not HistoryBuffer or type(arguments) is not tuple or arguments:
            refuse("it makes an object of another class")
        self.stack[-1] = HistoryBuffer()

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is Mapping and type(state) is dict:
            target.metadata = state.get("_metadata")
        elif type(target) is Array and type(state) is tuple and len(state) == 5:
            self.pay(len(state[4]))
            target.set_state(state)
        elif type(target) is HistoryBuffer and type(state) is dict:
            self.pay(sum(part.value.nbytes for part in state.values() if type(part) is Array))
            set_history(target, state)
        elif type(target) is Dtype:
            target.set_state(state)
        else:
            refuse("it sets attributes of an object")

    def _binunicode(self) -> None:
        length = struct.unpack("<I", self.read(4))[0]
        data = self.read(length) if length <= self.size else b""
        if len(data) < length:
            raise EOFError
        text = str(data, "utf-8", "surrogatepass")
        self.pay(sys.getsizeof(text))
        self.append(text)

    def _set(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, Mapping) or len(items) % 2:
            refuse("it puts a key into something else than a dict")
        self.pay(50 * len(items))
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self) -> None:
        self._set(self.pop_mark())  # type: ignore[attr-defined]

    def _extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            refuse("it appends to something else than a list")
        self.stack[-1].extend(items)

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self) -> None:
        self._extend(self.pop_mark())  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[int, Callable]] = {  # noqa: RUF012
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
        for name in (
            *("BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPERSID", "BINPUT"),
            *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "GLOBAL", "LONG1", "LONG_BINGET"),
            *("LONG_BINPUT", "MARK", "NEWFALSE", "NEWTRUE", "NONE", "PROTO", "SHORT_BINSTRING"),
            *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        )
    } | {
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _newobj,
        pickle.BUILD[0]: _build,
        pickle.BINUNICODE[0]: _binunicode,
        pickle.SETITEM[0]: _setitem,
        pickle.SETITEMS[0]: _setitems,
        pickle.APPEND[0]: _append,
        pickle.APPENDS[0]: _appends,
    }
