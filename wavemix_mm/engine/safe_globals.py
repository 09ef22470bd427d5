"""Let torch read mmengine's own checkpoints although it loads weights only.

Since torch 2.6 `torch.load` refuses every class that is not on a list. mmengine 0.10.7 does not
extend that list, so that neither `resume` nor `load_from` can read a checkpoint that mmengine
wrote. What such a checkpoint holds besides tensors is the training log: `HistoryBuffer` objects
with NumPy arrays, and NumPy scalars such as the best score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_STATISTICS = ("min", "max", "current", "mean")


def _get_statistic(owner: type, name: str) -> Any:
    """Stand in for `getattr` in a checkpoint.

    A `HistoryBuffer` is pickled with references to its methods, written as
    `getattr(HistoryBuffer, name)`. `getattr` itself would let a file reach the attributes of
    every allowed class; this reaches those four methods and nothing else.
    """
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise AttributeError(f"a checkpoint may not refer to {name!r} of {owner!r}")
    return getattr(owner, name)


def _allowed() -> dict[str, Any]:
    """Return what mmengine's checkpoints refer to, by the name in the file."""
    allowed: dict[str, Any] = {
        "mmengine.logging.history_buffer.HistoryBuffer": HistoryBuffer,
        "builtins.getattr": _get_statistic,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
    }
    # NumPy 2 moved these two to `_core`; a file names the place of the NumPy that wrote it.
    reconstruct, scalar = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    for package in ("numpy.core", "numpy._core"):
        allowed[f"{package}.multiarray._reconstruct"] = reconstruct
        allowed[f"{package}.multiarray.scalar"] = scalar
    for dtype in (np.float32, np.float64, np.int32, np.int64):
        dtype_class = type(np.dtype(dtype))
        allowed[f"{dtype_class.__module__}.{dtype_class.__name__}"] = dtype_class
    return allowed


def allow_mmengine_checkpoints() -> None:
    """Put the plain classes in mmengine's checkpoints on torch's list of safe globals.

    Nothing on the list runs code of the file. Calling it again changes nothing; before torch
    2.6, where such files can be read anyway, it does nothing.
    """
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) >= (2, 6):
        torch.serialization.add_safe_globals([(item, name) for name, item in _allowed().items()])
