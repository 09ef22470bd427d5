"""What a training checkpoint of mmengine holds besides tensors, read without any class of the file.

torch's `weights_only` refuses every class that is not on a list. mmengine's checkpoints refer to
`HistoryBuffer`, NumPy arrays and NumPy scalars, the training log and the best score. To allow
those classes themselves is too much: a pickle sets the state of what it makes, and a forged
`numpy.dtype` lets raw bytes pass for pointers. So the names stand for the few lines here, which
take numbers and refuse the rest; `finish` makes the real objects of them.

The list is replaced for the time of one read and restored after it. What other code in the process
has put on it, such as mmengine's own list with the real `getattr`, is out of force meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import re
import threading
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_STATISTICS = ("min", "max", "current", "mean")
_NUMBERS = re.compile(r"[fiu][1248]|b1|[US]\d{1,6}")  # and text
_LOCK = threading.Lock()


class _Dtype:
    """Stands for `numpy.dtype`, of numbers and text alone."""

    def __init__(self, code: str, *_: bool) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f"a NumPy dtype {code!r} is not one of numbers or text")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        # (version, byte order, then what only structured types have)
        if not isinstance(state, tuple) or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a NumPy dtype has parts")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for `numpy.ndarray`."""

    value = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if type(dtype) is not _Dtype or not isinstance(data, bytes):
            raise pickle.UnpicklingError("a NumPy array is not one of numbers or text")
        if len(data) != math.prod(shape) * dtype.dtype.itemsize:
            raise pickle.UnpicklingError("a NumPy array has not the size that it claims")
        order: Literal["C", "F"] = "F" if is_fortran else "C"
        self.value = np.frombuffer(data, dtype.dtype).reshape(shape, order=order).copy(order)


class _History:
    """Stands for mmengine's `HistoryBuffer`."""

    def __setstate__(self, state: dict) -> None:
        self.log, self.counts = state["_log_history"], state["_count_history"]
        self.max_length = state.get("max_length", len(self.log.value))

    def finish(self) -> HistoryBuffer:
        return HistoryBuffer(self.log.value, self.counts.value, int(self.max_length))


def _reconstruct(kind: type, *_: Any) -> _Array:
    """Stand for the function that NumPy's arrays begin with."""
    if kind is not _Array:
        raise pickle.UnpicklingError("a NumPy array is of another class")
    return _Array()


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    """Stand for the function that makes NumPy's scalars."""
    if type(dtype) is not _Dtype or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a NumPy scalar is not a number or text")
    return np.frombuffer(data, dtype.dtype, 1)[0]


def _statistic(owner: type, name: str) -> None:
    """Stand for `getattr`, with which a `HistoryBuffer` refers to its methods; none is needed."""
    if owner is not _History or name not in _STATISTICS:
        raise pickle.UnpicklingError(f"GLOBAL getattr is called for {name!r} of {owner!r}")


_STAND_INS: dict[str, Any] = {
    "mmengine.logging.history_buffer.HistoryBuffer": _History,
    "builtins.getattr": _statistic,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    # NumPy 2 moved these two to `_core`; a file names the place of the NumPy that wrote it.
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Have torch's list of safe globals hold the stand-ins and nothing else.

    Before torch 2.6 a list with names does not exist: weights can be read, training checkpoints
    cannot.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        yield
        return
    functions = torch.serialization
    with _LOCK:
        others = functions.get_safe_globals()
        functions.clear_safe_globals()
        functions.add_safe_globals([(item, name) for name, item in _STAND_INS.items()])
        try:
            yield
        finally:
            functions.clear_safe_globals()
            functions.add_safe_globals(others)


def finish(value: Any) -> Any:
    """Put arrays and `HistoryBuffer` objects in place of the stand-ins in nested containers.

    Dicts and lists are changed in place.
    """
    return _finish(value, set())


def _finish(value: Any, seen: set[int]) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, _History):
        return value.finish()
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_finish(item, seen) for item in value)
    if isinstance(value, dict | list) and id(value) not in seen:
        seen.add(id(value))
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            value[key] = _finish(value[key], seen)
    return value
