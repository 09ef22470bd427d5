"""The names in a checkpoint's pickle, and what stands here for each.

A pickle names functions and classes, and says with which arguments to call them. `NAMES` has the
few that torch, NumPy and mmengine write into checkpoints; a name outside it is refused, never
looked up. A function has a handler in its place, which takes numbers and text and makes a plain
value. A class stands for itself and is never called.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_STATISTICS = ("min", "max", "current", "mean")
_MAX_DIMS = 64
_NUMBERS = re.compile(r"[fiu][1248]|b1|[US]\d{1,6}")  # and text
STORAGES = {
    getattr(torch, f"{name}Storage"): getattr(torch, dtype)
    for name, dtype in (
        *(("Double", "float64"), ("Float", "float32"), ("Half", "float16")),
        *(("BFloat16", "bfloat16"), ("Long", "int64"), ("Int", "int32"), ("Short", "int16")),
        *(("Char", "int8"), ("Byte", "uint8"), ("Bool", "bool")),
        *(("ComplexDouble", "complex128"), ("ComplexFloat", "complex64")),
        ("Untyped", "uint8"),
    )
}
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
    """The file cannot be read as plain values.

    Args:
        cause: The end of a message.
        trust_helps: Whether to unpickle in full could read the file.
    """

    def __init__(self, cause: str, trust_helps: bool = False) -> None:
        super().__init__(cause)
        self.trust_helps = trust_helps


def refuse(cause: str) -> NoReturn:
    """Raise `Unreadable`."""
    raise Unreadable(cause)


# Stand-ins: values that a pickle changes after it has made them, and storages.


class Mapping(dict):
    """Stands for an `OrderedDict`; `metadata` is what `Module.state_dict` attaches to it."""

    metadata: Any = None


class Dtype:
    """Stands for `numpy.dtype`, of numbers and text alone."""

    def __init__(self, code: str) -> None:
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

    def set_state(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if type(dtype) is not Dtype or type(data) is not bytes:
            refuse("a NumPy array is not one of numbers or text")
        if len(shape) > _MAX_DIMS or not _are_sizes(shape):
            refuse("a NumPy array has no shape")
        if len(data) != math.prod(shape) * dtype.dtype.itemsize:
            refuse("a NumPy array has not the size that it claims")
        order: Literal["C", "F"] = "F" if is_fortran else "C"
        self.value = np.ndarray(shape, dtype.dtype, data, order=order).copy(order)


class Storage(NamedTuple):
    """The numbers of one or more tensors; without them, tensors become None."""

    numbers: torch.UntypedStorage | None
    dtype: torch.dtype


def set_history(target: HistoryBuffer, state: dict) -> None:
    """Fill a log with the arrays of a pickle."""
    log, counts = (state[key].value for key in ("_log_history", "_count_history"))
    length = state.get("max_length", len(log))
    if not (log.ndim == counts.ndim == 1 and log.dtype.kind in "fiub" and type(length) is int):
        refuse("a log is not one of numbers")
    HistoryBuffer.__init__(target, log, counts, length)


# Handlers


def _scalar(dtype: Dtype, data: bytes) -> Any:
    if type(dtype) is not Dtype or type(data) is not bytes:
        refuse("a NumPy scalar is not a number or text")
    value = np.frombuffer(data, dtype.dtype, 1)[0]
    return value if value.dtype.kind in "fiub" else value.item()


def _dtype(code: str, *_: bool) -> Dtype:
    return Dtype(code)


def _array(kind: type, *_: Any) -> Array:
    if kind is not np.ndarray:
        refuse("a NumPy array is of another class")
    return Array()


def _encode(text: str, encoding: str) -> bytes:
    if type(text) is not str or encoding != "latin1":  # the way in which bytes are written
        refuse("text is encoded in another way than torch does it")
    return text.encode("latin1")


def _statistic(owner: type, name: str) -> None:
    # a HistoryBuffer refers to its methods in this way; none is needed
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise _not_on_the_list("getattr")


def _tensor(
    storage: Storage, offset: int, size: tuple, stride: tuple, _: bool, hooks: Any, *rest: Any
) -> torch.Tensor | None:
    # rest: maybe the dtype; the bits of a lazy conjugate or negative, which need computing
    dtypes = [part for part in rest if type(part) is torch.dtype]
    if any(part for part in rest if type(part) is not torch.dtype):
        refuse("it holds a tensor that is a lazy view")
    if type(storage) is not Storage or not len(size) == len(stride) <= _MAX_DIMS:
        refuse("a tensor is not described as torch describes it")
    if not _are_sizes((offset, *size, *stride)):
        refuse("a tensor's shape is not one of whole numbers from 0")
    if storage.numbers is None:
        return None
    dtype = dtypes[0] if dtypes else storage.dtype
    result = torch.empty(0, dtype=dtype, device=storage.numbers.device)
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else -1
    if (offset + last + 1) * result.element_size() > storage.numbers.nbytes():
        refuse("a tensor reaches beyond its numbers")
    return result.set_(storage.numbers, offset, size, stride)


def _are_sizes(numbers: tuple) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)


def _parameter(value: torch.Tensor | None, *_: Any) -> torch.Tensor | None:
    if type(value) not in (torch.Tensor, type(None)):
        refuse("a parameter is not made of a tensor")
    return value


def _from_type(function: Callable, kind: Any, arguments: tuple, *_: Any) -> torch.Tensor | None:
    is_known = any(function is rebuild for rebuild in (_tensor, _parameter))
    if not is_known or type(arguments) is not tuple:
        refuse("a tensor is made by another function")
    return function(*arguments)


# Lists alone are taken apart below: the unpickler has paid for the copy.


def _mapping(pairs: list | None = None) -> Mapping:
    result = Mapping()
    for pair in _listed(pairs):  # as Python 2 writes them
        if type(pair) not in (list, tuple):
            refuse("an OrderedDict is not made of pairs")
        key, value = pair
        result[check_key(key)] = value
    return result


def _set(items: list | None = None) -> set:
    return set(map(check_key, _listed(items)))


def _size(sizes: tuple | list = ()) -> tuple:
    return sizes if type(sizes) is tuple else tuple(_listed(sizes))


def _listed(items: Any) -> list:
    if type(items) not in (list, type(None)):
        refuse("a set, a size or an OrderedDict is not made of a list")
    return items or []


def _counter(counts: Any = None) -> Counter:
    counts = {} if counts is None else counts
    if type(counts) is not dict or not all(type(count) is int for count in counts.values()):
        refuse("a Counter holds something else than whole numbers")
    return Counter(counts)


def check_key(key: Any) -> Any:
    """Return a key, or an element of a set, if it is cheap to hash and to compare."""
    # Others could take a quadratic time to compare, or an exponential one to hash.
    if type(key) in (str, bool, float, type(None)) or (type(key) is int and abs(key) < 1 << 60):
        return key
    refuse("a key is neither text nor a number of at most 60 bits")


CALLS: dict[str, Callable] = {
    "_codecs.encode": _encode,
    "builtins.getattr": _statistic,
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
    "torch._utils._rebuild_tensor": lambda *arguments: _tensor(*arguments, False, None),
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
}
NAMES: dict[str, Any] = {
    **CALLS,
    **{f"torch.{kind.__name__}": kind for kind in STORAGES},
    **{
        f"torch.{name}": value
        for name, value in vars(torch).items()
        if isinstance(value, torch.dtype) and not name.startswith("q")  # quantized
    },
    "torch.storage.UntypedStorage": torch.UntypedStorage,
    "torch.Tensor": torch.Tensor,
    "torch.nn.parameter.Parameter": torch.nn.Parameter,
    "numpy.ndarray": np.ndarray,
    HISTORY: HistoryBuffer,
}


def find_name(name: str) -> Any:
    """Return what stands for a name: a handler, or a class or dtype that is never called.

    Raises:
        Unreadable: If torch, NumPy and mmengine do not write it into checkpoints.
    """
    if name in _UNUSABLE:
        refuse(f"it holds {_UNUSABLE[name]}")
    if name not in NAMES:
        raise _not_on_the_list(name.removeprefix("builtins.")[:100])
    return NAMES[name]


def _not_on_the_list(name: str) -> Unreadable:
    return Unreadable(f"it holds {name}, which is not on the list of what cannot run code", True)
