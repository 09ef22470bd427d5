"""The names in a checkpoint's pickle, and the functions that make plain values in their place.

A pickle names functions and classes, and says with which arguments to call them. `MAKERS` has a
function of its own for each name that torch, NumPy and mmengine write into checkpoints. Any other
name is refused, and no name is looked up.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from typing import Any, NoReturn

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_MAX_DIMS = 64
_NUMBERS = re.compile(r"[fiu][1248]|b1|[US]\d{1,6}")  # and text


class Unreadable(Exception):
    """The file cannot be read as plain values.

    Args:
        cause: The end of a message.
        trust_helps: Whether unpickling in full could read the file.
    """

    def __init__(self, cause: str, trust_helps: bool = False) -> None:
        super().__init__(cause)
        self.trust_helps = trust_helps


def refuse(cause: str) -> NoReturn:
    """Raise `Unreadable`."""
    raise Unreadable(cause)


def expect(condition: Any) -> None:
    """Raise `Unreadable` unless the condition holds. Files that torch writes fulfil it."""
    if not condition:
        refuse("it holds a value that is not as torch writes it")


def check_keys(keys: Collection) -> Collection:
    """Return keys, or elements of a set, if each is cheap to hash and to compare."""
    for key in keys:
        # Others could take a quadratic time to compare, or an exponential one to hash.
        if type(key) not in (str, bool, float, type(None)) and (
            type(key) is not int or abs(key) >= 1 << 60
        ):
            refuse("a key is neither text nor a number of at most 60 bits")
    return keys


def find_name(name: str) -> Any:
    """Return the maker, or the dtype, that stands for a name.

    Raises:
        Unreadable: If torch, NumPy and mmengine do not write the name into checkpoints, or if no
            plain value can be made of it.
    """
    if name in _UNUSABLE:
        refuse(f"it holds {_UNUSABLE[name]}")
    if name not in _NAMES:
        name = name.removeprefix("builtins.")[:100]
        raise Unreadable(f"it holds {name}, which is not on the list of what cannot run code", True)
    return _NAMES[name]


def set_state(value: Any, state: Any) -> int:
    """Set the state of a value that a maker has made, as the pickle asks for it.

    Returns:
        The bytes of memory that this takes.
    """
    if type(value) is OrderedDict:
        return _set_versions(value, state)
    if type(value) is HistoryBuffer:  # the rest of the state refers to methods of the class
        log, counts = parts = state["_log_history"], state["_count_history"]
        length = state.get("max_length", len(log))
        expect(all(part.ndim == 1 and part.dtype.kind in "fiub" for part in parts))
        expect(type(length) is int)
        value.__init__(log, counts, length)
        return log.nbytes + counts.nbytes
    expect(type(state) is tuple and len(state) <= 9)
    if isinstance(value, np.dtype):
        _, order, *parts = state
        expect(order in ("<", ">", "|") and not any(parts[:3]))  # structured types have some
        size, alignment = value.itemsize, value.alignment
        value.__setstate__((3, order, None, None, None, size, alignment, 0))  # type: ignore[attr-defined]
        return 0
    expect(type(value) is np.ndarray)
    _, shape, dtype, is_fortran, data = state
    expect(isinstance(dtype, np.dtype) and type(data) is bytes and type(shape) is tuple)
    # nested tuples could take an exponential time to compare, as to print
    expect(all(type(side) is int and side >= 0 for side in shape))
    try:
        value.__setstate__((1, shape, dtype, bool(is_fortran), data))
    except MemoryError as error:  # of NumPy, if the sides overflow
        raise ValueError from error
    return value.nbytes


def _set_versions(mapping: OrderedDict, state: dict) -> int:
    """Keep the versions of modules, by which torch and mmengine load older state dicts."""
    modules = state.get("_metadata")
    modules = modules if isinstance(modules, dict) else {}
    versions = {
        prefix: dict(version=part["version"])
        for prefix, part in modules.items()
        if type(prefix) is str and isinstance(part, dict) and type(part.get("version")) is int
    }
    if versions:
        mapping._metadata = versions  # type: ignore[attr-defined]
    return 500 * len(modules)


# Makers


def _argument(*_: Any) -> NoReturn:
    """Stand for a class, or a method, that is only an argument of makers."""
    refuse("it holds a name as a value")


def _attribute(owner: Any, name: Any) -> Callable:
    return _argument


def _mapping(pairs: list | tuple = ()) -> OrderedDict:  # as Python 2 writes them
    expect(type(pairs) in (list, tuple) and all(type(pair) in (list, tuple) for pair in pairs))
    check_keys([key for key, _ in pairs])
    return OrderedDict(pairs)


def _set(items: list | tuple) -> set:
    expect(type(items) in (list, tuple))
    return set(check_keys(items))


def _counter(counts: dict) -> Counter:
    expect(isinstance(counts, dict) and all(type(count) is int for count in counts.values()))
    return Counter(counts)


def _size(sides: list | tuple) -> tuple:
    expect(type(sides) in (list, tuple))
    return tuple(sides)


def _encode(text: str, encoding: str) -> bytes:
    expect(type(text) is str and encoding == "latin1")  # the way in which bytes are written
    return text.encode("latin1")


def _dtype(code: str, *_: Any) -> np.dtype:
    expect(type(code) is str)
    if not _NUMBERS.fullmatch(code):
        refuse(f"a NumPy dtype {code!r:.99} is not one of numbers or text")
    return np.dtype(code, copy=True)  # which `set_state` changes


def _array(kind: Any, *_: Any) -> np.ndarray:
    expect(kind is _argument)
    return np.empty(0)


def _scalar(dtype: np.dtype, data: bytes) -> Any:
    expect(isinstance(dtype, np.dtype) and type(data) is bytes)
    value = np.frombuffer(data, dtype, 1)[0]
    return value if value.dtype.kind in "fiub" else value.item()


def _tensor(numbers: Tensor, offset: int, size: tuple, stride: tuple, *rest: Any) -> Tensor:
    # rest: maybe the dtype; the bits of a lazy conjugate or negative, which need computing
    dtypes = [part for part in rest[2:] if type(part) is torch.dtype]
    if any(part for part in rest[2:] if type(part) is not torch.dtype):
        refuse("it holds a tensor that is a lazy view")
    expect(type(numbers) is Tensor and type(size) is tuple and len(size) <= _MAX_DIMS)
    numbers = numbers.view(*dtypes) if dtypes else numbers
    # as_strided checks the place and the shape; set_ alone would enlarge the storage
    storage = numbers.as_strided(size, stride, offset).untyped_storage()
    return numbers.new_empty(0).set_(storage, offset, size, stride)


def _parameter(value: Tensor, *_: Any) -> Tensor:
    expect(type(value) is Tensor)
    return value


def _from_type(function: Any, kind: Any, arguments: tuple, *_: Any) -> Tensor:
    expect(function in (_tensor, _parameter) and type(arguments) is tuple)
    return function(*arguments)


MAKERS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encode,
    "builtins.bytes": lambda: b"",
    "builtins.set": _set,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _counter,
    "numpy.dtype": _dtype,
    # NumPy 2 moved these two to `_core`; a file names the place of the NumPy that wrote it.
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    HISTORY: lambda: HistoryBuffer(),
}
_DTYPES = {
    name: value
    for name, value in vars(torch).items()
    if isinstance(value, torch.dtype) and not name.startswith("q")  # quantized
}
_STORAGES = dict(Double="float64", Float="float32", Half="float16", BFloat16="bfloat16")
_STORAGES |= dict(Long="int64", Int="int32", Short="int16", Char="int8", Byte="uint8", Bool="bool")
_STORAGES |= dict(ComplexDouble="complex128", ComplexFloat="complex64")
_NAMES = (
    MAKERS
    | {f"torch.{name}": dtype for name, dtype in _DTYPES.items()}
    | {f"torch.{name}Storage": _DTYPES[dtype] for name, dtype in _STORAGES.items()}
    | {"torch.storage.UntypedStorage": torch.uint8, "builtins.getattr": _attribute}
    | dict.fromkeys(("torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray"), _argument)
)
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
