"""Write and read weights as safetensors: numbers and JSON; equal weights give equal bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavemix_mm.engine.checkpoints.records import Budget, Unreadable
from wavemix_mm.engine.checkpoints.safe_globals import Builder
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


def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a file into the layout of mmengine's checkpoints.

    Args:
        filename: The file.
        map_location: Device of the tensors; another kind of torch.load's argument means the CPU.

    Returns:
        `meta`, empty if `write_safetensors` did not write the file, and `state_dict`.

    Raises:
        UserInputError: If the file does not exist or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = os.path.expanduser(filename)
    device = map_location if isinstance(map_location, str | torch.device) else "cpu"
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_META_KEY, "{}")
            if len(text) > _MAX_META:
                raise Unreadable("its meta is too long")
            meta = json.loads(text)
            Builder(Budget(len(text)), lambda _: None)(meta)  # refuses what is nested too deep
            if not isinstance(meta, dict):
                raise Unreadable("its meta is no dict")
            state = {key: file.get_tensor(key).to(device) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserInputError(f"checkpoint {filename} does not exist.") from None
    except (OSError, SafetensorError, ValueError, RecursionError, Unreadable) as error:
        raise UserInputError(
            f"checkpoint {filename} cannot be read: it is truncated or not of the format "
            f"safetensors ({error})."
        ) from error
    return dict(meta=meta, state_dict=state)
