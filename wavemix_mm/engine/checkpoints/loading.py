"""Read checkpoints as data, running no code that they may hold.

Each reader of checkpoints uses this module: the tools, the hooks, and mmengine itself.
`register_loaders` replaces mmengine's loaders of files and addresses, so that `resume`,
`load_from`, `init_cfg` and the inference APIs of MMSegmentation and MMPretrain are safe, too.
mmengine's own loader unpickles in full, with a warning, a file that torch's `weights_only` refuses.
Remote stores such as s3:// keep mmengine's loaders.

A file is safetensors or of torch.save (`torch_files.py`). Text that mmengine could execute, such as
a config, is dropped (`content.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from wavemix_mm.engine.checkpoints import FINDERS
from wavemix_mm.engine.checkpoints.content import keep_plain
from wavemix_mm.engine.checkpoints.safe_globals import Unreadable
from wavemix_mm.engine.checkpoints.safetensors_files import read_safetensors
from wavemix_mm.engine.checkpoints.torch_files import read_torch_file
from wavemix_mm.engine.messages import warn
from wavemix_mm.errors import UserInputError

_ADDRESSES = ("http://", "https://")
# mmengine looks up the address of such a name, and loads the address through this module.
_MODEL_ZOOS = ("open-mmlab://", "openmmlab://", "torchvision://", "modelzoo://", "mmcls://")
_NO_SAFETENSORS = "it is truncated or not of the format safetensors"
TRUST_ADVICE = "; --trust-checkpoint loads the file of someone you trust"
_unsafe_pickle_allowed = False
_read_ahead: tuple[object, Any] | None = None  # what identifies a checkpoint, and its content


@contextlib.contextmanager
def allow_unsafe_pickle(allow: bool) -> Iterator[None]:
    """Unpickle a file in full if it cannot be read otherwise, with a warning that says why.

    The option `--trust-checkpoint` of the tools. The text of a config is dropped all the same.

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
            torch.hub has for it, a name of mmengine's model zoos, or a prefix of `FINDERS` and a
            name.
        map_location: Device of the tensors; another kind of torch.load's argument means the CPU.

    Returns:
        The content, of builtin types, tensors, NumPy arrays and `HistoryBuffer`, without the text
        of a config.

    Raises:
        UserInputError: If it does not exist, is damaged, or cannot be read without running code.
    """
    device = map_location if isinstance(map_location, str | torch.device) else "cpu"
    if path.startswith(_MODEL_ZOOS):
        from mmengine.runner.checkpoint import CheckpointLoader

        try:
            return keep_plain(CheckpointLoader.load_checkpoint(path, device, logger=None), path)
        except KeyError as error:
            raise UserInputError(f"checkpoint {path}: there is no model {error}.") from None
    file = local_copy(path)
    try:
        return _read_file(str(file), path, device)
    except UserInputError:
        if path.startswith(_ADDRESSES):
            file.unlink(missing_ok=True)  # or the next call would use it again
        raise


def read_ahead(path: str) -> Any:
    """Read a checkpoint that mmengine is about to load, so that it is read once.

    The next load of the same path by mmengine takes the content that was read here, with the
    tensors on the CPU, unless the file has changed since.

    Args, Returns, Raises: As `read_checkpoint`.
    """
    global _read_ahead
    if path.startswith(_MODEL_ZOOS):  # mmengine's loader would not take it
        return read_checkpoint(path)
    identity = _identify(path)
    if _read_ahead is None or _read_ahead[0] != identity:
        _read_ahead = None  # frees the memory first
        _read_ahead = identity, read_checkpoint(path)
    return _read_ahead[1]


def _identify(path: str) -> object:
    file = None  # for an address or a name
    with contextlib.suppress(OSError):
        status = os.stat(os.path.expanduser(path))
        file = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    return path, _unsafe_pickle_allowed, file


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Read the model's tensors of a checkpoint, running no code that it may hold.

    Raises:
        UserInputError: As `read_checkpoint`, or if there are none.
    """
    return get_state_dict(read_checkpoint(path), path)


def local_copy(path: str) -> Path:
    """Return the local file of a path, an http(s) address, or a prefix of `FINDERS` and a name.

    Raises:
        UserInputError: If it does not exist or cannot be fetched.
    """
    if path.startswith(_ADDRESSES):
        try:
            if is_main_process():
                _fetch(path)
        finally:
            barrier()
        return _fetch(path)  # another machine has its own copy
    for prefix, find in FINDERS.items():
        if path.startswith(prefix):
            return find(path.removeprefix(prefix))
    if "://" in path:
        raise UserInputError(f"checkpoint {path}: fetch the file and name its path.")
    check_file(path)
    return Path(path).expanduser()


def get_state_dict(checkpoint: Any, path: str) -> dict[str, Tensor]:
    """Return the model's tensors from the content of a checkpoint.

    Raises:
        UserInputError: If there are none, or one does not have the plain layout (only in a file
            that was unpickled in full).
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
    """Check that a local checkpoint exists, before a slow build.

    Raises:
        UserInputError: If it does not.
    """
    file = os.path.expanduser(path)
    if "://" not in path and not os.path.isfile(file):
        problem = "is a folder" if os.path.isdir(file) else "does not exist"
        raise UserInputError(f"checkpoint {path} {problem}.")


def _read_file(file: str, name: str, device: str | torch.device) -> Any:
    """Read a local file; messages call it `name`."""
    is_pickle = not file.endswith(".safetensors")
    refused = f"checkpoint {name} cannot be read: "
    try:
        content = (read_torch_file if is_pickle else read_safetensors)(file, device)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        cause, is_final = _explain(error) if is_pickle else (f"{_NO_SAFETENSORS} ({error})", True)
        if is_final or not _unsafe_pickle_allowed:
            raise UserInputError(f"{refused}{cause}.") from error
        warn(
            f"checkpoint {name} is unpickled in full, which runs any code in it, because "
            f"--trust-checkpoint was given and it cannot be read otherwise: {cause}."
        )
        try:
            content = torch.load(file, map_location=device, weights_only=False)
        except Exception as second:
            raise UserInputError(f"{refused}{_explain(second)[0]}.") from second
    return keep_plain(content, name)


def _explain(error: Exception) -> tuple[str, bool]:
    """Return why a file cannot be read, and whether unpickling it in full cannot help either."""
    # "Invalid argument" is damage: zipfile seeks to a negative place
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return error.strerror or str(error), True
    if isinstance(error, Unreadable):
        return f"{error}{TRUST_ADVICE if error.trust_helps else ''}", False
    # a damaged file raises errors of many kinds
    return "it is truncated or not a PyTorch checkpoint", False


def _fetch(address: str) -> Path:
    """Return the local copy of a file; fetch it if there is none, as mmengine does."""
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


def load_from_wavemix_mm(filename: str, map_location: Any = None, *_: Any, **__: Any) -> Any:
    """Read a checkpoint for mmengine, which calls it as its own loaders.

    Returns:
        The content of `read_ahead`, once, or of `read_checkpoint`.
    """
    global _read_ahead
    if _read_ahead is not None and _read_ahead[0] == _identify(filename):
        content, _read_ahead = _read_ahead[1], None
        return content
    return read_checkpoint(filename, map_location)


def register_loaders(checkpoint_module: ModuleType) -> None:
    """Let mmengine read files, addresses and names with a prefix of `FINDERS` through this module.

    mmengine's loaders of model zoos look up a name and call ``load_from_http``, which is replaced
    too.

    Args:
        checkpoint_module: The module mmengine.runner.checkpoint.
    """
    prefixes = ["", *_ADDRESSES, *FINDERS]
    checkpoint_module.CheckpointLoader.register_scheme(prefixes, load_from_wavemix_mm, force=True)
    checkpoint_module.load_from_http = load_from_wavemix_mm  # type: ignore[attr-defined]
