"""Write and read weights as safetensors: numbers and JSON; equal weights give equal bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavemix_mm.engine.checkpoints.plain_pickle import count_values
from wavemix_mm.engine.checkpoints.safe_globals import refuse
from wavemix_mm.errors import UserInputError

# One entry, because safetensors writes several in an order that changes between processes.
_META_KEY = "wavemix_mm"
_MAX_META = 4 << 20  # characters; Python's objects take up to 30 times as much memory


def write_safetensors(
    path: str | os.PathLike, state_dict: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Write a state dict; the folder is created.

    Args:
        path: The file.
        state_dict: The tensors.
        meta: The checkpoint's `meta`. Tuples become lists.

    Raises:
        UserInputError: If JSON cannot hold `meta`, or the file cannot be written.
    """
    from safetensors.torch import save

    try:
        text = json.dumps(meta, sort_keys=True, default=_plain)
    except TypeError as error:
        raise UserInputError(
            f"the checkpoint's meta cannot be written as JSON: {error}."
        ) from error
    # Clones, because safetensors refuses tensors that share memory.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state_dict.items()}
    data = save(tensors, metadata={_META_KEY: text})
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)
    except OSError as error:
        raise UserInputError(f"{path} cannot be written: {error.strerror}.") from error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r}")


def read_safetensors(file: str, device: str | torch.device) -> dict[str, Any]:
    """Read a file into the layout of mmengine's checkpoints.

    Args:
        file: The file.
        device: Device of the tensors.

    Returns:
        `meta`, empty if `write_safetensors` did not write the file, and `state_dict`.

    Raises:
        Exception: Of any kind, if the file is damaged.
    """
    from safetensors import safe_open

    with safe_open(file, framework="pt") as stream:
        text = (stream.metadata() or {}).get(_META_KEY, "{}")
        if len(text) > _MAX_META:
            refuse("its meta is too long")
        meta = json.loads(text)
        count_values(meta, {})  # refuses what is nested too deep
        if not isinstance(meta, dict):
            refuse("its meta is no dict")
        state = {key: stream.get_tensor(key).to(device) for key in stream.keys()}  # noqa: SIM118
    return dict(meta=meta, state_dict=state)
