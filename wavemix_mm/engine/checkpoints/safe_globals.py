"""The names in a checkpoint's pickle, and how plain values are made of them.

A pickle names functions and classes, and says with which arguments to call them. `plain_pickle.py`
reads each call as a record, a `Call`. `MAKERS` has a function for each name that torch, NumPy and
mmengine write into checkpoints; the function makes a plain value of the record. Any other name is
refused, and no name is looked up.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from wavemix_mm.engine.checkpoints.records import (
    Budget,
    Call,
    Name,
    Storage,
    Unreadable,
    check_key,
    expect,
    refuse,
)

HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_MAX_DEPTH = 100
_MAX_DIMS = 64
_NUMBERS = re.compile(r"[fiu][1248]|b1|[US]\d{1,6}")  # and text


class Builder:
    """Makes plain values of the records of a pickle, once for each record.

    Args:
        budget: What this may take.
        find_storage: Function that returns a storage's numbers, or None to make None of tensors.
    """

    def __init__(
        self, budget: Budget, find_storage: Callable[[Storage], torch.UntypedStorage | None]
    ) -> None:
        self.pay, self.find_storage = budget.pay, find_storage
        self._budget, self._depth = budget, 0
        # by id: the value made, its cost in values, and the record, so that its id stays its own
        self._made: dict[int, tuple[Any, int, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """Return the value that a record stands for, or the same builtin value.

        Raises:
            Unreadable: If the value is no plain one, is nested too deep, or takes too much.
            Exception: Of any kind, if the record is damaged.
        """
        kind = type(value)
        if kind in (int, float, bool, type(None)):
            self.pay(0, 1)
            return value
        if kind in (str, bytes):
            self.pay(0, 1 + len(value))
            return value
        if id(value) not in self._made:
            if self._depth > _MAX_DEPTH:
                refuse(f"its values are nested more than {_MAX_DEPTH} deep")
            before = self._budget.values
            self._depth += 1
            self.pay(300, 1)
            result = self._make(kind, value)
            self._depth -= 1
            self._made[id(value)] = result, before - self._budget.values, value
            return result
        result, cost, _ = self._made[id(value)]
        self.pay(0, cost)
        return result

    def _make(self, kind: type, value: Any) -> Any:
        if kind in (list, tuple):
            return kind(map(self, value))
        if kind is dict:  # of JSON
            return dict(zip(self.keys([*value]), map(self, value.values()), strict=True))
        if kind is Name and value in DTYPES:
            return DTYPES[value]
        if kind is Call and value.name in MAKERS:
            return MAKERS[value.name](self, value)
        if kind is Call:
            raise _not_on_the_list(value.name)
        raise Unreadable("it holds a name or storage as a value", True)

    def items(self, call: Call) -> list | tuple:
        """Return the elements of the list with which a set, size or mapping is made."""
        items = self(*call.arguments) if call.arguments else ()
        expect(type(items) in (list, tuple))
        self.pay(8 * len(items))
        return items

    def keys(self, keys: list | tuple) -> list | tuple:
        """Return the keys of a mapping, or the elements of a set, which pay for its memory."""
        texts = [len(key) for key in keys if type(check_key(key)) is str]
        # numbers, unlike text, can be chosen so that each is compared to many others
        self.pay(100 * len(keys), sum(texts) + (len(keys) - len(texts)) ** 2 // 16)
        return keys


def check_name(name: str) -> Name:
    """Return a name if torch, NumPy or mmengine write it into checkpoints.

    Raises:
        Unreadable: If they do not, or if no plain value can be made of it.
    """
    if name in _UNUSABLE:
        refuse(f"it holds {_UNUSABLE[name]}")
    if name not in _NAMES:
        raise _not_on_the_list(name)
    return Name(name)


def _not_on_the_list(name: str) -> Unreadable:
    short = name.removeprefix("builtins.")[:100]
    return Unreadable(f"it holds {short}, which is not on the list of what cannot run code", True)


# Makers


def _mapping(build: Builder, call: Call) -> dict:
    pairs = build.items(call)  # as Python 2 writes them
    expect(all(type(pair) in (list, tuple) for pair in pairs))
    keys = build.keys([key for key, _ in pairs] + call.items[::2])
    values = [value for _, value in pairs] + [build(item) for item in call.items[1::2]]
    result = dict(zip(keys, values, strict=True))
    # the versions of modules, by which torch and mmengine load state dicts of older modules
    state = call.state.attributes() if type(call.state) is Call else {}
    modules = build(state.get("_metadata"))
    if isinstance(modules, dict):
        build.pay(500 * len(modules) + 200 * len(result))
    versions = {
        prefix: dict(version=part["version"])
        for prefix, part in (modules.items() if isinstance(modules, dict) else ())
        if type(prefix) is str and isinstance(part, dict) and type(part.get("version")) is int
    }
    if versions:
        result = OrderedDict(result)
        result._metadata = versions  # type: ignore[attr-defined]
    return result


def _counter(build: Builder, call: Call) -> Counter:
    counts = build(*call.arguments) if call.arguments else {}
    expect(isinstance(counts, dict) and all(type(count) is int for count in counts.values()))
    build.pay(100 * len(counts))
    return Counter(counts)


def _encode(build: Builder, call: Call) -> bytes:
    text, encoding = call.arguments
    expect(type(text) is str and encoding == "latin1")  # the way in which bytes are written
    build.pay(len(text), len(text))
    return text.encode("latin1")


def _dtype(build: Builder, call: Call) -> np.dtype:
    code = call.arguments[0]
    if type(code) is not str or not _NUMBERS.fullmatch(code):
        refuse(f"a NumPy dtype {code!r:.99} is not one of numbers or text")
    if call.state is None:
        return np.dtype(code)
    expect(len(call.state) <= 9)
    _, order, *parts = call.state
    expect(all(part is None for part in parts[:3]))  # structured types have some
    return np.dtype(code).newbyteorder(order) if order in ("<", ">") else np.dtype(code)


def _array(build: Builder, call: Call) -> np.ndarray:
    _, shape, dtype, is_fortran, data = call.state
    dtype, data = build(dtype), build(data)
    expect(call.arguments[0] == "numpy.ndarray" and _are_numbers(dtype, data))
    view: np.ndarray = np.ndarray(shape, dtype, data, order="F" if is_fortran else "C")
    expect(view.nbytes == len(data) and min(shape, default=0) >= 0)
    build.pay(len(data), view.size)
    return view.copy("K")


def _scalar(build: Builder, call: Call) -> Any:
    dtype, data = map(build, call.arguments)
    expect(_are_numbers(dtype, data))
    build.pay(len(data))
    value = np.frombuffer(data, dtype, 1)[0]
    return value if value.dtype.kind in "fiub" else value.item()


def _are_numbers(dtype: Any, data: Any) -> bool:
    return isinstance(dtype, np.dtype) and type(data) is bytes


def _history(build: Builder, call: Call) -> HistoryBuffer:
    state = call.state.attributes()  # the rest of it refers to methods of the class
    log, counts = (build(state[key]) for key in ("_log_history", "_count_history"))
    length = state.get("max_length", len(log))
    expect(all(part.ndim == 1 and part.dtype.kind in "fiub" for part in (log, counts)))
    expect(type(length) is int)
    build.pay(log.nbytes + counts.nbytes)
    return HistoryBuffer(log, counts, length)


def _tensor(build: Builder, call: Call) -> torch.Tensor | None:
    storage, offset, size, stride, *rest = call.arguments
    size, stride = (part if type(part) is tuple else build(part) for part in (size, stride))
    # rest: maybe the dtype; the bits of a lazy conjugate or negative, which need computing
    dtypes = [DTYPES[part] for part in rest[2:] if type(part) is Name]
    if any(build(part) for part in rest[2:] if type(part) is not Name):
        refuse("it holds a tensor that is a lazy view")
    expect(type(storage) is Storage and len(size) <= _MAX_DIMS)
    numbers = build.find_storage(storage)
    if numbers is None:
        return None
    result = torch.empty(0, dtype=(dtypes or [storage.dtype])[0], device=numbers.device)
    # as_strided checks the place and the shape; set_ would enlarge the storage
    shape = result.set_(numbers).as_strided(size, stride, offset)
    # the bytes of a copy: a view may have few of its own; torch's nbytes can overflow
    build.pay(600 + shape.numel() * shape.itemsize)
    return result.set_(numbers, offset, size, stride)


def _parameter(build: Builder, call: Call) -> torch.Tensor | None:
    value = build(call.arguments[0])
    expect(type(value) in (torch.Tensor, type(None)))
    return value


def _from_type(build: Builder, call: Call) -> torch.Tensor | None:
    function, _, arguments, *_ = call.arguments
    expect(type(function) is Name and function in _REBUILD and type(arguments) is tuple)
    return _REBUILD[function](build, Call(function, arguments))


_REBUILD: dict[str, Callable[[Builder, Call], torch.Tensor | None]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
MAKERS: dict[str, Callable[[Builder, Call], Any]] = {
    **_REBUILD,
    "_codecs.encode": _encode,
    "builtins.bytes": lambda build, call: b"",
    "builtins.set": lambda build, call: set(build.keys(build.items(call))),
    "builtins.dict": _mapping,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _counter,
    "numpy.dtype": _dtype,
    # NumPy 2 moved these two to `_core`; a file names the place of the NumPy that wrote it.
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "torch.Size": lambda build, call: tuple(build.items(call)),
    "torch._tensor._rebuild_from_type_v2": _from_type,
    HISTORY: _history,
}
DTYPES = {
    f"torch.{name}": value
    for name, value in vars(torch).items()
    if isinstance(value, torch.dtype) and not name.startswith("q")  # quantized
}
STORAGES = {
    f"torch.{name}Storage": DTYPES[f"torch.{dtype}"]
    for name, dtype in (
        *(("Double", "float64"), ("Float", "float32"), ("Half", "float16")),
        *(("BFloat16", "bfloat16"), ("Long", "int64"), ("Int", "int32"), ("Short", "int16")),
        *(("Char", "int8"), ("Byte", "uint8"), ("Bool", "bool")),
        *(("ComplexDouble", "complex128"), ("ComplexFloat", "complex64")),
    )
} | {"torch.storage.UntypedStorage": torch.uint8}
# Names without a maker: arguments of calls, and a method to which a log refers.
_NAMES = {"torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray", "builtins.getattr"}
_NAMES |= MAKERS.keys() | DTYPES.keys() | STORAGES.keys()
_UNUSABLE = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor on the meta device, without values",
    "torch._utils._rebuild_qtensor": "a quantized tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch.nested._internal.nested_tensor.NestedTensor": "a nested tensor",
    "torch.nested._internal.nested_tensor._rebuild_njt": "a nested tensor",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own",
    "torch.distributed.tensor.DTensor": "a tensor that is split over processes",
}
