"""The names in a checkpoint's pickle, and what stands in for the things that they name.

A pickle names functions and classes, and says with what to call them. Here a name stays a name
(`Name`): it is never looked up. The few that torch, NumPy and mmengine write into checkpoints have
a handler each, which takes numbers and text and makes a plain value, or a stand-in that
`torch_files.py` turns into a tensor or an array. All other names are refused.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_STATISTICS = ("min", "max", "current", "mean")
_NUMBERS = re.compile(r"[fiu][1248]|b1|[US]\d{1,6}")  # and text
_STORAGES = {
    f"torch.{name}Storage": getattr(torch, dtype)
    for name, dtype in (
        *(("Double", "float64"), ("Float", "float32"), ("Half", "float16")),
        *(("BFloat16", "bfloat16"), ("Long", "int64"), ("Int", "int32"), ("Short", "int16")),
        *(("Char", "int8"), ("Byte", "uint8"), ("Bool", "bool")),
        *(("ComplexDouble", "complex128"), ("ComplexFloat", "complex64")),
    )
} | {"torch.storage.UntypedStorage": torch.uint8}
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


class Unreadable(Exception):
    """The file cannot be read as plain values; the message says why, to end a sentence.

    Args:
        cause: The message.
        trust_helps: Whether to unpickle in full could read the file.
    """

    def __init__(self, cause: str, trust_helps: bool = False) -> None:
        super().__init__(cause)
        self.trust_helps = trust_helps


class Name:
    """A name in the pickle."""

    def __init__(self, name: str) -> None:
        self.name = name


class Mapping(dict):
    """Stands for an `OrderedDict`; `metadata` is what `Module.state_dict` attaches to it."""

    metadata: Any = None


class Storage:
    """The numbers of one or more tensors."""

    def __init__(self, tag: str, kind: Name, key: str, location: str, numel: int, *view: None):
        if tag != "storage" or type(key) is not str or type(numel) is not int or any(view):
            refuse("a storage is not described as torch describes it")
        self.dtype = _STORAGES[kind.name]
        self.itemsize = torch.empty(0, dtype=self.dtype).element_size()
        self.key, self.numel = key, numel


class Tensor:
    """Stands for a tensor."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple, dtype: Any):
        sizes = (offset, *size, *stride)
        if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in sizes):
            refuse("a tensor's shape is not one of whole numbers from 0")
        self.storage, self.dtype = storage, dtype
        self.offset, self.size, self.stride = offset, tuple(size), tuple(stride)


class Dtype:
    """Stands for `numpy.dtype`, of numbers and text alone."""

    def __init__(self, code: str, *_: bool) -> None:
        if type(code) is not str or not _NUMBERS.fullmatch(code):
            refuse(f"a NumPy dtype {code!r} is not one of numbers or text")
        self.dtype = np.dtype(code)

    def set_state(self, state: tuple) -> None:
        # (version, byte order, then what only structured types have)
        if type(state) is not tuple or any(part is not None for part in state[2:5]):
            refuse("a NumPy dtype has parts")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """Stands for `numpy.ndarray`."""

    value = np.zeros(0)

    def __init__(self, kind: Name, *_: Any) -> None:
        if type(kind) is not Name or kind.name != "numpy.ndarray":
            refuse("a NumPy array is of another class")

    def set_state(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if type(dtype) is not Dtype or type(data) is not bytes:
            refuse("a NumPy array is not one of numbers or text")
        if not all(type(n) is int and n >= 0 for n in shape):
            refuse("a NumPy array has no shape")
        if len(data) != math.prod(shape) * dtype.dtype.itemsize:
            refuse("a NumPy array has not the size that it claims")
        order: Literal["C", "F"] = "F" if is_fortran else "C"
        self.value = np.ndarray(shape, dtype.dtype, data, order=order).copy(order)


class History:
    """Stands for mmengine's `HistoryBuffer`."""

    value: HistoryBuffer

    def set_state(self, state: dict) -> None:
        log, counts = (state[key].value for key in ("_log_history", "_count_history"))
        length = state.get("max_length", len(log))
        if not (log.ndim == counts.ndim == 1 and log.dtype.kind in "fiub" and type(length) is int):
            refuse("a log is not one of numbers")
        self.value = HistoryBuffer(log, counts, length)


def refuse(cause: str) -> NoReturn:
    """Raise `Unreadable`."""
    raise Unreadable(cause)


def _scalar(dtype: Dtype, data: bytes) -> Any:
    if type(dtype) is not Dtype or type(data) is not bytes:
        refuse("a NumPy scalar is not a number or text")
    value = np.frombuffer(data, dtype.dtype, 1)[0]
    return value if value.dtype.kind in "fiub" else value.item()


def _statistic(owner: Name, name: str) -> None:
    # with which a HistoryBuffer refers to its methods; none is needed
    if type(owner) is not Name or owner.name != HISTORY or name not in _STATISTICS:
        raise _not_on_the_list("getattr")


def _not_on_the_list(name: str) -> Unreadable:
    return Unreadable(f"it holds {name}, which is not on the list of what cannot run code", True)


def _tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *rest: Any) -> Tensor:
    # rest: requires_grad, hooks and the bits of a lazy conjugate or negative, which need computing
    if any(rest[2:]):
        refuse("it holds a tensor that is a lazy view")
    return Tensor(storage, offset, size, stride, storage.dtype)


def _tensor_v3(
    storage: Storage, offset: int, size: tuple, stride: tuple, _: bool, hooks: Any, dtype: Name,
    *rest: Any,
) -> Tensor:  # fmt: skip
    if any(rest):
        refuse("it holds a tensor that is a lazy view")
    return Tensor(storage, offset, size, stride, getattr(torch, dtype.name.removeprefix("torch.")))


def _first(value: Tensor, *_: Any) -> Tensor:
    # a parameter; it becomes a tensor
    if type(value) is not Tensor:
        refuse("a parameter is not made of a tensor")
    return value


def _mapping(pairs: Any = ()) -> Mapping:
    result = Mapping()
    for key, value in pairs:  # Python 2 writes them in this way
        result[check_key(key)] = value
    return result


def _counter(counts: Any = None) -> Counter:
    counts = {} if counts is None else counts
    if type(counts) is not dict or not all(type(count) is int for count in counts.values()):
        refuse("a Counter holds something else than whole numbers")
    return Counter(counts)


def check_key(key: Any) -> Any:
    """Return what is to be a key, or an element of a set, if it is cheap to hash and to compare."""
    # Others could take a quadratic time to compare, or an exponential one to hash.
    if type(key) in (str, bool, float, type(None)) or (type(key) is int and abs(key) < 1 << 60):
        return key
    refuse("a key is neither text nor a number of at most 60 bits")


CALLS: dict[str, Callable] = {
    "builtins.getattr": _statistic,
    "builtins.bytes": lambda: b"",
    "builtins.set": lambda items=(): set(map(check_key, items)),
    "collections.OrderedDict": _mapping,
    "collections.Counter": _counter,
    "numpy.dtype": Dtype,
    # NumPy 2 moved these two to `_core`; a file names the place of the NumPy that wrote it.
    "numpy.core.multiarray._reconstruct": Array,
    "numpy._core.multiarray._reconstruct": Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
}
FROM_TYPE, ENCODE = "torch._tensor._rebuild_from_type_v2", "_codecs.encode"
_OTHER_NAMES = {
    *(HISTORY, "numpy.ndarray", FROM_TYPE, ENCODE),
    *("torch.Tensor", "torch.nn.parameter.Parameter"),
}


def check_name(name: str) -> None:
    """Check that a name is one that torch, NumPy or mmengine write into checkpoints.

    Raises:
        Unreadable: If it is not.
    """
    if name in _UNUSABLE:
        refuse(f"it holds {_UNUSABLE[name]}")
    if not (name in CALLS or name in _STORAGES or name in _OTHER_NAMES or _is_dtype(name)):
        raise _not_on_the_list(name.removeprefix("builtins.")[:100])


def _is_dtype(name: str) -> bool:
    dtype = getattr(torch, name.removeprefix("torch."), None) if name.startswith("torch.") else None
    return isinstance(dtype, torch.dtype) and not name.startswith(("torch.q", "torch.quint"))
