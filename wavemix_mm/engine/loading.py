"""The one way in which this package reads checkpoints: numbers and plain values, never code.

safetensors, or torch's `weights_only` with a list of allowed names of which none is a class of the
file (`wavemix_mm/engine/safe_globals.py`). Nothing is added to torch's list for the process: a list
that lets mmengine's training log through lets it through in the files of strangers too, for every
library that loads something. The list is put in place for one read at a time instead, and mmengine
reads through here: `register_loaders` replaces what its CheckpointLoader does with files and
addresses, on both versions, so that `resume`, `load_from`, `init_cfg` and the inference APIs of
MMSegmentation and MMPretrain are safe in every process that has imported `wavemix_mm`. mmengine's
own loader would unpickle in full, with a warning, what `weights_only` refuses.

The text of a config inside a checkpoint is taken out before mmengine gets to see it:
`Runner.resume` and an inferencer that is given weights alone would execute it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import re
import sys
import warnings
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import get_dist_info
from torch import Tensor

from wavemix_mm.engine.safe_globals import finish, stand_ins
from wavemix_mm.engine.weights import load_from_safetensors
from wavemix_mm.environment import SAFE_TORCH, release
from wavemix_mm.errors import UserInputError
from wavemix_mm.model_index import SCHEME, find_weights

_ADDRESSES = ("http://", "https://")
_MODEL_ZOOS = ("open-mmlab://", "openmmlab://", "torchvision://", "modelzoo://", "mmcls://")
# Stores of files to which mmengine has a way, and we have none that was tried.
_STORES = (r"(\S+\:)?s3://", r"(\S+\:)?petrel://", "pavi://")
TRUST_ADVICE = "; --trust-checkpoint loads the file of someone you trust"
_EMPTY, _WEB_PAGE = "the file is empty.", "it is a web page, not a checkpoint."
_trusted = False


@contextlib.contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Let files be unpickled in full which cannot be read otherwise, with one line that says why.

    What `--trust-checkpoint` asks for. The text of a config is dropped in any case.

    Args:
        trust: False changes nothing.
    """
    global _trusted
    before, _trusted = _trusted, trust or _trusted
    try:
        yield
    finally:
        _trusted = before


def read_checkpoint(path: str, map_location: Any = "cpu") -> Any:
    """Read a checkpoint, running no code that it may hold.

    Args:
        path: A file, 'wavemix_mm://name', an http(s) address, which is fetched once and kept in
            the folder that torch.hub has for it, or a name of mmengine's model zoos.
        map_location: As for torch.load.

    Raises:
        UserInputError: If it does not exist, is damaged, or cannot be read without running code.
    """
    if path.startswith(_ADDRESSES):
        return _read_address(path, map_location)
    if path.startswith(SCHEME):
        return load_from_safetensors(str(find_weights(path.removeprefix(SCHEME))), map_location)
    if path.startswith(_MODEL_ZOOS):
        return _read_from_model_zoo(path, map_location)
    if "://" in path:
        raise UserInputError(f"checkpoint {path}: fetch the file and name its path.")
    check_file(path)
    return _read_file(os.path.expanduser(path), path, map_location)


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
        UserInputError: If there are none.
    """
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(key, str) and isinstance(state[key], Tensor) for key in state)
    ):
        raise UserInputError(f"checkpoint {path} holds no state dict.")
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


def _read_file(file: str, name: str, map_location: Any) -> Any:
    """Read a local file; `name` is what the messages call it."""
    if name.endswith(".safetensors"):
        return load_from_safetensors(file, map_location)
    _warn_of_old_torch(torch.__version__)
    try:
        with stand_ins():
            content = torch.load(file, map_location=map_location or "cpu", weights_only=True)
        return finish(content)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    # What torch raises for a file of any content depends on where it is damaged.
    except Exception as error:
        cause = _cause(file, error)
        if not _trusted or isinstance(error, PermissionError) or cause in (_EMPTY, _WEB_PAGE):
            raise UserInputError(f"checkpoint {name} cannot be read: {cause}") from error
    if os.environ.get("RANK", "0") == "0":
        print(
            f"warning: checkpoint {name} is unpickled in full, which runs any code in it, because "
            f"--trust-checkpoint was given and it cannot be read otherwise: {cause}",
            file=sys.stderr,
        )
    try:
        return torch.load(file, map_location=map_location or "cpu", weights_only=False)
    except Exception as error:
        raise UserInputError(f"checkpoint {name} cannot be read: {_cause(file, error)}") from error


@functools.cache
def _warn_of_old_torch(version: str) -> None:
    if release(version) < SAFE_TORCH:
        floor = ".".join(map(str, SAFE_TORCH))
        warnings.warn(
            f"torch {version} reads checkpoints with known faults; below {floor} take no file of a "
            "stranger that is not safetensors",
            stacklevel=4,
        )


def _cause(file: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{error.strerror}."
    with open(file, "rb") as stream:
        start = stream.read(512).lstrip().lower()
    if not start:
        return _EMPTY
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return _WEB_PAGE
    if isinstance(error, pickle.UnpicklingError) and (
        refused := re.search(r"GLOBAL (\S+)", str(error))
    ):
        return (
            f"it holds {refused[1]}, which is not on the list of what cannot run code"
            f"{TRUST_ADVICE}."
        )
    return "it is truncated or not a PyTorch checkpoint."


def _read_address(address: str, map_location: Any) -> Any:
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
        return _read_file(str(file), address, map_location)
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


def _read_from_model_zoo(path: str, map_location: Any) -> Any:
    """Look a name up in mmengine's lists, and read what they name."""
    from mmengine.runner import checkpoint as zoo

    scheme, _, name = path.partition("://")
    if scheme == "mmcls":
        models = zoo.get_mmcls_models()
    elif scheme in ("torchvision", "modelzoo"):
        models = zoo.get_torchvision_models()
    else:
        name = zoo.get_deprecated_model_names().get(name, name)
        models = zoo.get_external_models()
    if name not in models:
        raise UserInputError(f"checkpoint {path}: there is no model {name!r}.")
    target = models[name]
    if not target.startswith(_ADDRESSES):
        target = os.path.join(zoo._get_mmengine_home(), target)
    checkpoint = read_checkpoint(target, map_location)
    return zoo._process_mmcls_checkpoint(checkpoint) if scheme == "mmcls" else checkpoint


def _without_config(checkpoint: Any) -> Any:
    """Remove the text of a config, in place."""
    if not isinstance(checkpoint, dict):
        return checkpoint
    hub = checkpoint.get("message_hub")
    for part, key in (
        (checkpoint.get("meta"), "cfg"),
        (checkpoint.get("meta"), "config"),
        (hub.get("runtime_info") if isinstance(hub, dict) else None, "cfg"),
    ):
        if isinstance(part, MutableMapping):
            part.pop(key, None)
    return checkpoint


def load_from_wavemix_mm(filename: str, map_location: Any = None) -> Any:
    """Read a checkpoint for mmengine: as `read_checkpoint`, without the text of a config."""
    return _without_config(read_checkpoint(filename, map_location))


def register_loaders(checkpoint_module: ModuleType) -> None:
    """Have mmengine's CheckpointLoader read through this module, whatever the file's origin.

    Args:
        checkpoint_module: The module mmengine.runner.checkpoint.
    """
    # "Prefixes" are regular expressions, matched at the start; files have the empty one.
    prefixes = ["", SCHEME, *_ADDRESSES, *_MODEL_ZOOS, *_STORES]
    checkpoint_module.CheckpointLoader.register_scheme(prefixes, load_from_wavemix_mm, force=True)
