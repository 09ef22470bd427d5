"""What tools/train.py and tools/test.py share: configs, this machine, one-sentence errors."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from torch import nn

from wavemix_mm.engine.distributed import (
    ACCELERATORS,
    is_after_user_error,
    is_first_to_say,
    lost_process,
    note_user_error,
)
from wavemix_mm.errors import LostProcessError, UserInputError
from wavemix_mm.registry import type_name

# Names under which norms that need several processes are registered, and their classes' names.
_SYNC_NORMS = ("SyncBN", "MMSyncBN", "SyncBatchNorm", "NaiveSyncBatchNorm")
_AMP_ONLY_KEYS = ("loss_scale", "dtype", "use_fsdp")
# Advice that mmengine adds to its messages.
_ADVICE = (" Please check whether", ", the current sys.path is")
# What some of its messages mean.
_MEANINGS = {
    "need at least one array to concatenate": "a dataset found no files in its folders: check "
    "the names and endings of the files; docs/datasets.md shows the layouts",
    "None is not a callable object": "optim_wrapper.optimizer.type names no registered optimizer",
}


@contextlib.contextmanager
def cli_errors() -> Iterator[None]:
    """Print a user's mistake as one sentence and exit with status 1, without a traceback.

    Several processes that torchrun started print the same message once. A job that a user's mistake
    has ended exits again with status 1, silently, if torchrun restarts it. WAVEMIX_MM_TRACEBACK=1
    in the environment shows the traceback.
    """
    if is_after_user_error():
        sys.exit(1)
    try:
        yield
    except (UserInputError, LostProcessError) as error:
        if isinstance(error, UserInputError):
            note_user_error()
        if os.environ.get("WAVEMIX_MM_TRACEBACK") == "1":
            raise
        message = f"error: {_own_words(error)}"
        sys.exit(message if is_first_to_say(message) else 1)


def _own_words(error: Exception) -> str:
    """The message without the traceback that torch puts around it when a worker raised it."""
    text = str(error)
    return text.rpartition(f"{type(error).__name__}: ")[2].strip() if "Caught " in text else text


@contextlib.contextmanager
def building(what: str) -> Iterator[None]:
    """Turn any error while a config is read or a model is built into a UserInputError.

    Args:
        what: Start of the sentence, e.g. "config a.py cannot be built".
    """
    try:
        yield
    except UserInputError:
        raise
    # Configs are programs that name any class with any arguments: anything may be raised.
    except Exception as error:
        raise lost_process(error) or UserInputError(f"{what}: {sentence(error)}") from error


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file and merge ``--cfg-options`` into it.

    Raises:
        UserInputError: If the file does not exist (naming its nearest neighbors), cannot be read,
            or the options do not fit it.
    """
    file = Path(path)
    if file.is_dir():
        raise UserInputError(f"config {path} is a folder, not a config file.")
    if not file.is_file():
        stems = [other.stem for other in file.parent.glob("*.py")]
        near = difflib.get_close_matches(file.stem, stems, n=3)
        hint = ", ".join(str(file.parent / f"{stem}.py") for stem in near)
        raise UserInputError(
            f"config {path} does not exist" + (f"; did you mean {hint}?" if hint else ".")
        )
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # see building()
        base = _base_being_read(error, path)
        where = f"its base {base}: " if base else ""
        raise UserInputError(f"config {path} cannot be read: {where}{sentence(error)}") from error
    if options:
        with building(f"--cfg-options does not fit config {path}"):
            cfg.merge_from_dict(options)
    return cfg


def parse_options(options: list[str] | None) -> dict[str, Any]:
    """Parse ``--cfg-options`` as mmengine's DictAction does.

    Raises:
        UserInputError: On an option that is not KEY=VALUE.
    """
    parsed: dict[str, Any] = {}
    for option in options or []:
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise UserInputError(f"--cfg-options {option}: not of the form KEY=VALUE.")
        with building(f"--cfg-options {option}"):
            parsed[key] = DictAction._parse_iterable(value)
    return parsed


def set_work_dir(cfg: Config, work_dir: str | None, config_path: str) -> None:
    """Set ``cfg.work_dir`` (argument, else config, else work_dirs/<config name>) and create it.

    Raises:
        UserInputError: If the folder cannot be written.
    """
    cfg.work_dir = work_dir or cfg.get("work_dir") or f"./work_dirs/{Path(config_path).stem}"
    try:
        os.makedirs(cfg.work_dir, exist_ok=True)
    except OSError as error:
        raise UserInputError(f"work dir {cfg.work_dir}: {error.strerror}.") from error
    if not os.access(cfg.work_dir, os.W_OK):
        raise UserInputError(f"work dir {cfg.work_dir} is not writable.")


def adapt_to_machine(cfg: Config, launcher: str) -> None:
    """Change what of a config cannot run here, with one warning line for each kind of change.

    Without an accelerator AmpOptimWrapper becomes OptimWrapper and SyncBN becomes BN; SyncBN does
    so in a run of one process too, and ``sync_bn``, which turns BN into SyncBN, is dropped with it.
    ``persistent_workers`` is dropped where there are no workers, ``pin_memory`` without an
    accelerator: torch would warn of either.
    """
    no_accelerator = get_device() not in ACCELERATORS
    nodes = list(_dicts(cfg._cfg_dict))
    if no_accelerator:
        amp = [node for node in nodes if type_name(node) == "AmpOptimWrapper"]
        for node in amp:
            node["type"] = "OptimWrapper"
            for key in _AMP_ONLY_KEYS:
                node.pop(key, None)
        if amp:
            warn("no accelerator was found: training in float32 (OptimWrapper), not AMP.")
    if no_accelerator or launcher == "none":
        sync = [node for node in nodes if type_name(node) in _SYNC_NORMS]
        for node in sync:
            node["type"] = "BN"
        options = [node for node in (cfg, cfg.get("strategy") or {}) if node.get("sync_bn")]
        for node in options:
            node["sync_bn"] = None
        if sync or options:
            warn("SyncBN needs several processes with an accelerator each: using BN.")
    for node in nodes:
        if node.get("num_workers") == 0 and node.get("persistent_workers"):
            node["persistent_workers"] = False
        if no_accelerator and node.get("pin_memory"):
            node["pin_memory"] = False


def switch_to_deploy(model: nn.Module) -> None:
    """Call ``switch_to_deploy()`` on every part of a model that has it."""
    for module in list(model.modules()):
        # a folded part may have been removed by the one that contained it: harmless
        if hasattr(module, "switch_to_deploy"):
            module.switch_to_deploy()


def _dicts(node: Any) -> Iterator[ConfigDict]:
    """All dicts in a config, the outermost first."""
    if isinstance(node, dict):
        yield node
        # ConfigDict.values() may build lazy objects; items of the plain dict are what is there
        for value in list(dict.values(node)):
            yield from _dicts(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _dicts(value)


def sentence(error: Exception) -> str:
    """The kind of an error and what it says, in one line."""
    text = str(error)
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # without the quotation marks that KeyError puts around it
        if " " not in text:
            text = f"the key {text!r} is missing"
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.strerror}: {error.filename}"
    text = _MEANINGS.get(text, text)
    text = " ".join(text.split()).replace("<unknown>, ", "") or "no message"
    for advice in _ADVICE:
        text = text.partition(advice)[0]
    return f"{type(error).__name__}: {text.rstrip('.!')}."


def _base_being_read(error: Exception, path: str) -> str | None:
    """The file that mmengine was reading when the error came, if it is not ``path`` itself."""
    names = [
        frame.f_locals.get("filename")
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("mmengine.config")
    ]
    files = [os.path.abspath(name) for name in names if isinstance(name, str)]
    return files[-1] if files and files[-1] != os.path.abspath(path) else None


def warn(message: str) -> None:
    """Print a warning, once for all processes."""
    if os.environ.get("RANK", "0") == "0":
        print(f"warning: {message}", file=sys.stderr)
