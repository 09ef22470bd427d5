"""The one way in which this package reads checkpoints: numbers and plain values, never code.

safetensors, or what torch.save writes, read as data (`wavemix_mm/engine/torch_files.py`). mmengine
reads through here too: `register_loaders` replaces what its CheckpointLoader does with files and
addresses, on both versions, so that `resume`, `load_from`, `init_cfg` and the inference APIs of
MMSegmentation and MMPretrain are safe in every process that has imported `wavemix_mm`. mmengine's
own loader would unpickle in full, with a warning, what torch's `weights_only` refuses. Remote
stores such as s3:// stay mmengine's.

Text that mmengine could execute, such as a config, does not get through
(`wavemix_mm/engine/checkpoint_content.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import get_dist_info
from torch import Tensor

from wavemix_mm.engine.checkpoints.content import keep_plain
from wavemix_mm.engine.checkpoints.safe_globals import Unreadable
from wavemix_mm.engine.checkpoints.safetensors_files import load_from_safetensors
from wavemix_mm.engine.checkpoints.torch_files import read_torch_file
from wavemix_mm.errors import UserInputError

_ADDRESSES = ("http://", "https://")
# Names of models that mmengine looks up; they stand for addresses, which it fetches through here.
_MODEL_ZOOS = ("open-mmlab://", "openmmlab://", "torchvision://", "modelzoo://", "mmcls://")
TRUST_ADVICE = "; --trust-checkpoint loads the file of someone you trust"
_unsafe_pickle_allowed = False
_finders: dict[str, Callable[[str], Path]] = {}  # by prefix


@contextlib.contextmanager
def allow_unsafe_pickle(allow: bool) -> Iterator[None]:
    """Let files be unpickled in full which cannot be read otherwise, with one line that says why.

    What `--trust-checkpoint` asks for. The text of a config is dropped in any case.

    Args:
        allow: False changes nothing.
    """
    global _unsafe_pickle_allowed
    before, _unsafe_pickle_allowed = _unsafe_pickle_allowed, allow or _unsafe_pickle_allowed
    try:
        yield
    finally:
        _unsafe_pickle_allowed = before


def read_checkpoint(path: str, map_location: Any = "cpu") -> Any:
    """Read a checkpoint, running no code that it may hold.

    Args:
        path: A file, an http(s) address, which is fetched once and kept in the folder that
            torch.hub has for it, a name of mmengine's model zoos, or a prefix of `register_finder`
            and a name.
        map_location: Device of the tensors; the CPU for whatever else torch.load would take.

    Returns:
        The content, of builtin types, tensors, NumPy arrays and `HistoryBuffer`, without the text
        of a config.

    Raises:
        UserInputError: If it does not exist, is damaged, or cannot be read without running code.
    """
    device = map_location if isinstance(map_location, str | torch.device) else "cpu"
    if path.startswith(_ADDRESSES):
        return _read_address(path, device)
    for prefix, find in _finders.items():
        if path.startswith(prefix):
            return _read_file(str(find(path.removeprefix(prefix))), path, device)
    if path.startswith(_MODEL_ZOOS):
        return _read_from_model_zoo(path, device)
    if "://" in path:
        raise UserInputError(f"checkpoint {path}: fetch the file and name its path.")
    check_file(path)
    return _read_file(os.path.expanduser(path), path, device)


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Read the model's tensors of a checkpoint, running no code that it may hold.

    Raises:
        UserInputError: As `read_checkpoint`, or if there are none.
    """
    return get_state_dict(read_checkpoint(path), path)


def local_copy(path: str) -> Path:
    """Return the file that `read_checkpoint` reads for a path or an http(s) address.

    Raises:
        UserInputError: If it does not exist or cannot be fetched.
    """
    if path.startswith(_ADDRESSES):
        return _fetch(path)
    check_file(path)
    return Path(os.path.expanduser(path))


def get_state_dict(checkpoint: Any, path: str) -> dict[str, Tensor]:
    """Return the model's tensors of what `read_checkpoint` has read from `path`.

    Raises:
        UserInputError: If there are none, or one is not of the plain layout, which only a file
            that was unpickled in full can hold.
    """
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(key, str) and isinstance(state[key], Tensor) for key in state)
    ):
        raise UserInputError(f"checkpoint {path} holds no state dict.")
    for key, value in state.items():
        if value.is_nested or value.is_quantized or value.layout != torch.strided or value.is_meta:
            raise UserInputError(
                f"checkpoint {path}: tensor {key} is sparse, quantized, nested or without values."
            )
    return {key.removeprefix("module."): value for key, value in state.items()}


def check_file(path: str) -> None:
    """Check that a local checkpoint exists, before anything slow is built.

    Raises:
        UserInputError: If it does not.
    """
    file = os.path.expanduser(path)
    if "://" not in path and not os.path.isfile(file):
        problem = "is a folder" if os.path.isdir(file) else "does not exist"
        raise UserInputError(f"checkpoint {path} {problem}.")


def _read_file(file: str, name: str, device: str | torch.device) -> Any:
    """Read a local file; `name` is what the messages call it."""
    if file.endswith(".safetensors"):
        return keep_plain(load_from_safetensors(file, device), name)
    try:
        with open(file, "rb") as stream:
            if not (start := stream.read(512)):
                raise UserInputError(f"checkpoint {name} cannot be read: the file is empty.")
            if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
                raise UserInputError(
                    f"checkpoint {name} cannot be read: it is a web page, not a checkpoint."
                )
            stream.seek(0)
            content = read_torch_file(stream, device)
    except (MemoryError, torch.OutOfMemoryError, UserInputError):
        raise
    except Exception as error:
        cause = _cause(error)
        if not _unsafe_pickle_allowed or _is_unreadable(error):
            raise UserInputError(f"checkpoint {name} cannot be read: {cause}.") from error
        content = _unpickle_in_full(file, name, device, cause)
    return keep_plain(content, name)


def _unpickle_in_full(file: str, name: str, device: str | torch.device, cause: str) -> Any:
    if os.environ.get("RANK", "0") == "0":
        print(
            f"warning: checkpoint {name} is unpickled in full, which runs any code in it, because "
            f"--trust-checkpoint was given and it cannot be read otherwise: {cause}.",
            file=sys.stderr,
        )
    try:
        return torch.load(file, map_location=device, weights_only=False)
    except Exception as error:
        raise UserInputError(f"checkpoint {name} cannot be read: {_cause(error)}.") from error


def _is_unreadable(error: Exception) -> bool:
    # zipfile seeks to any place that a damaged file names, which is "Invalid argument"
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and _is_unreadable(error):
        return error.strerror or str(error)
    if isinstance(error, Unreadable):
        return f"{error}{TRUST_ADVICE if error.trust_helps else ''}"
    # What is raised for a file of any content depends on where it is damaged.
    return "it is truncated or not a PyTorch checkpoint"


def _read_address(address: str, device: str | torch.device) -> Any:
    rank, world_size = get_dist_info()
    try:
        if rank == 0:
            file = _fetch(address)
    finally:
        if world_size > 1:
            torch.distributed.barrier()
    if rank > 0:  # the first process of another machine may have to fetch it as well
        file = _fetch(address)
    try:
        return _read_file(str(file), address, device)
    except UserInputError:
        file.unlink(missing_ok=True)  # or it would be taken for the right one the next time
        raise


def _fetch(address: str) -> Path:
    """Return the local copy of a file, fetching it where there is none, as mmengine does."""
    file = Path(torch.hub.get_dir(), "checkpoints", os.path.basename(urlparse(address).path))
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(file), progress=False)
    except (OSError, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise UserInputError(f"checkpoint {address} cannot be fetched: {reason}.") from error
    return file


def _read_from_model_zoo(path: str, device: str | torch.device) -> Any:
    """Have mmengine look a name up in its lists, and read what it stands for."""
    from mmengine.runner.checkpoint import CheckpointLoader

    try:
        content = CheckpointLoader.load_checkpoint(path, device, logger=None)
    except KeyError as error:
        raise UserInputError(f"checkpoint {path}: there is no model {error}.") from None
    return keep_plain(content, path)


def load_from_wavemix_mm(filename: str, map_location: Any = None, *_: Any, **__: Any) -> Any:
    """Read a checkpoint for mmengine: `read_checkpoint`, named and called as its loaders are."""
    return read_checkpoint(filename, map_location)


def register_finder(prefix: str, find: Callable[[str], Path]) -> None:
    """Let a prefix and a name, such as 'wavemix_mm://mnist_8-10', stand for a file.

    Args:
        prefix: The prefix, with its '://'. mmengine knows it too if `register_loaders` comes after.
        find: Function that returns the file of a name, or raises a `UserInputError`.
    """
    _finders[prefix] = find


def register_loaders(checkpoint_module: ModuleType) -> None:
    """Let mmengine read files, addresses and names of `register_finder` through this module.

    mmengine's loaders of model zoos look up a name and call ``load_from_http``, which is replaced
    too.

    Args:
        checkpoint_module: The module mmengine.runner.checkpoint.
    """
    prefixes = ["", *_ADDRESSES, *_finders]
    checkpoint_module.CheckpointLoader.register_scheme(prefixes, load_from_wavemix_mm, force=True)
    checkpoint_module.load_from_http = load_from_wavemix_mm  # type: ignore[attr-defined]
