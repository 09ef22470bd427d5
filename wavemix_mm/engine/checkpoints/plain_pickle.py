"""Python's own unpickler with the operations that torch writes, and makers for all names.

The result has exact builtin types, tensors of the plain layout, NumPy arrays of numbers or text,
and mmengine's `HistoryBuffer`; no object of another class gets through. Time and memory stay in
proportion to the file's size, also for code that goes through the result.
"""

from __future__ import annotations

import itertools
import math
import pickle
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from wavemix_mm.engine.checkpoints.safe_globals import (
    Unreadable,
    check_keys,
    expect,
    find_name,
    refuse,
    set_state,
)

# The operations, by the bytes that each takes in memory above those of the file; 16 of them are a
# place on the stack and one in a list.
_OPERATIONS = {
    0: "APPEND APPENDS BINPUT BUILD PROTO SETITEM SETITEMS TUPLE",
    16: "BINGET BINUNICODE EMPTY_TUPLE GLOBAL LONG_BINGET NEWFALSE NEWOBJ NEWTRUE NONE REDUCE",
    48: "BINFLOAT BININT BININT1 BININT2 SHORT_BINSTRING",
    100: "EMPTY_LIST LONG1 LONG_BINPUT MARK TUPLE1 TUPLE2 TUPLE3",
    250: "EMPTY_DICT",
    500: "BINPERSID",
}
_COSTS = {
    getattr(pickle, name)[0]: cost for cost in _OPERATIONS for name in _OPERATIONS[cost].split()
}
_MAX_DEPTH = 100
_TOO_MUCH = "its values unfold into much more than its size"


class Unpickler(pickle._Unpickler):
    """Reader of the pickles in a file.

    Args:
        stream: Where the pickle begins.
        size: Bytes of the file.
        find_storage: Function that returns the numbers of a storage, whose key, count and type it
            gets.

    Attributes:
        memory: Bytes that the values may still take.
    """

    def __init__(
        self,
        stream: BinaryIO,
        size: int,
        find_storage: Callable[[str, int, torch.dtype], torch.Tensor],
    ) -> None:
        super().__init__(stream, encoding="utf-8")
        # names are short
        self.read, self.readline = stream.read, partial(stream.readline, 1000)
        self.size, self.memory = size, (48 << 20) + 4 * size
        self.find_storage = find_storage

    def pay(self, memory: int) -> None:
        """Take bytes from the memory.

        Raises:
            Unreadable: If it is used up.
        """
        self.memory -= memory
        if self.memory < 0:
            refuse(_TOO_MUCH)

    def load(self) -> Any:
        """Return the next pickle's value.

        Raises:
            Unreadable: If it is no plain value, or takes too much time or memory.
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
        value = self.stack.pop()
        if count_values(value, {}) > (1 << 20) + 5 * self.size:
            refuse(_TOO_MUCH)
        return value

    def find_class(self, module: str, name: str) -> Any:
        """Return the maker, or the dtype, that stands for a name."""
        return find_name(f"{'builtins' if module == '__builtin__' else module}.{name}")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """Return the numbers of the storage that `pid` describes."""
        expect(type(pid) is tuple and len(pid) <= 6)
        kind, key, _, numel, *view = pid[1:]
        # only text is looked up: the hash of nested tuples could take an exponential time
        expect(pid[0] == "storage" and type(kind) is torch.dtype and not any(view))
        expect(type(key) is str and type(numel) is int and numel >= 0)
        numbers = self.find_storage(key, numel, kind)
        expect(numbers.numel() == numel and numbers.dtype == kind)
        return numbers

    def _call(self) -> None:
        arguments, maker = self.stack.pop(), self.stack[-1]
        expect(type(maker) is FunctionType and type(arguments) is tuple and len(arguments) <= 8)
        for part in arguments:
            if isinstance(part, list | tuple | dict):
                # numbers, unlike text, can be chosen so that each is compared to many others
                self.pay(8 * len(part) + sum(type(item) is not str for item in part) ** 2 // 4)
        self.stack[-1] = value = maker(*arguments)
        is_tensor = type(value) is torch.Tensor
        # the bytes of a copy: a view may have few of its own; torch's nbytes can overflow
        size = value.numel() * value.itemsize if is_tensor else sys.getsizeof(value)
        self.pay(600 + size)

    def _setitems(self, items: list | None = None) -> None:
        items = self.pop_mark() if items is None else items  # type: ignore[attr-defined]
        mapping = self.stack[-1]
        expect(isinstance(mapping, dict))
        for key, value in zip(check_keys(items[::2]), items[1::2], strict=True):
            self.pay(100 if type(key) is str else 100 + len(mapping))
            mapping[key] = value

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._setitems([key, value])

    def _build(self) -> None:
        state = self.stack.pop()
        self.pay(set_state(self.stack[-1], state))

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
        pickle.REDUCE[0]: _call,
        pickle.NEWOBJ[0]: _call,
        pickle.SETITEM[0]: _setitem,
        pickle.SETITEMS[0]: _setitems,
        pickle.BUILD[0]: _build,
        pickle.BINUNICODE[0]: _binunicode,
    }


def count_values(value: Any, known: dict[int, float], depth: int = 0) -> float:
    """Count the values in a value, each once for each place where it stands.

    Args:
        value: The value.
        known: The numbers of values that were counted, by id.
        depth: Number of the containers around the value.

    Raises:
        Unreadable: If it is no plain value, or is nested too deep.
    """
    kind = type(value)
    if kind in (int, float, bool, type(None), torch.dtype, torch.Tensor):
        return 1
    if kind in (str, bytes):
        return 1 + len(value)
    if id(value) in known:
        return known[id(value)]
    known[id(value)] = math.inf  # in itself
    if depth > _MAX_DEPTH:
        refuse(f"its values are nested more than {_MAX_DEPTH} deep")
    count: float = 1
    if kind in (list, tuple, set):
        count += sum(count_values(item, known, depth + 1) for item in value)
    elif kind in (dict, OrderedDict, Counter):
        items = itertools.chain(value, value.values())
        count += sum(count_values(item, known, depth + 1) for item in items)
    elif kind is np.ndarray:
        count += value.size
    elif kind is HistoryBuffer:
        count += 2 * value.data[0].size
    elif not isinstance(value, np.generic | np.dtype):
        raise Unreadable("it holds a name as a value", True)
    known[id(value)] = count
    return count
