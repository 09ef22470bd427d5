"""Read a config, merge the options of the command line, and adapt the config to this machine."""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.device import get_device

from wavemix_mm.engine.messages import building, error_message, warn
from wavemix_mm.engine.optim_wrappers import AMP_KEYS
from wavemix_mm.engine.parallel.distributed import ACCELERATORS
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import type_name

# Registered names and class names of norms that need several processes.
_SYNC_NORMS = ("SyncBN", "MMSyncBN", "SyncBatchNorm", "NaiveSyncBatchNorm")


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file and merge ``--cfg-options`` into it.

    Raises:
        UserInputError: If the file does not exist (with names like it) or cannot be read, or if the
            options do not fit it.
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
        base = _file_at_fault(error, path)
        where = "" if file.samefile(base) else f"its base {os.path.normpath(base)}: "
        raise UserInputError(
            f"config {path} cannot be read: {where}{error_message(error)}"
        ) from error
    if options:
        with building(f"--cfg-options does not fit config {path}"):
            cfg.merge_from_dict(options)
    return cfg


def parse_options(options: list[str] | None) -> dict[str, Any]:
    """Parse ``--cfg-options`` like mmengine's DictAction.

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
    """Create the work dir and set ``cfg.work_dir``.

    The option comes first, then the config; the default is work_dirs/<config name>.

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
    """Change the parts of a config that cannot run here, with one warning for each kind.

    Without an accelerator, AmpOptimWrapper becomes OptimWrapper and SyncBN becomes BN. SyncBN also
    becomes BN in a run of one process, and the option ``sync_bn`` is dropped with it.
    ``persistent_workers`` is dropped without workers, ``pin_memory`` without an accelerator: torch
    would print a warning.
    """
    no_accelerator = get_device() not in ACCELERATORS
    nodes = list(dicts(cfg._cfg_dict))
    if no_accelerator:
        amp = [node for node in nodes if type_name(node) == "AmpOptimWrapper"]
        for node in amp:
            node["type"] = "OptimWrapper"
            for key in AMP_KEYS:
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


def dicts(node: Any) -> Iterator[dict]:
    """Yield all dicts in a config, the outermost first."""
    if isinstance(node, dict):
        yield node
        # not ConfigDict.values(): it may build lazy objects
        node = list(dict.values(node))
    if isinstance(node, list | tuple):
        for value in node:
            yield from dicts(value)


def hook_configs(cfg: Config) -> dict[str, dict]:
    """Return the hooks that a config describes, by their places in it."""
    hooks = [(f"default_hooks.{k}", hook) for k, hook in (cfg.get("default_hooks") or {}).items()]
    hooks += [(f"custom_hooks.{i}", hook) for i, hook in enumerate(cfg.get("custom_hooks") or [])]
    return {place: hook for place, hook in hooks if isinstance(hook, dict)}


def _file_at_fault(error: Exception, path: str) -> str:
    """Return the file that mmengine read when an error came, a config or one of its bases."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    theirs = [frame for frame in frames if frame.f_globals.get("__name__") == Config.__module__]
    names = [frame.f_locals.get("filename") or "" for frame in theirs]
    # mmengine has removed its temporary files
    return next(filter(os.path.isfile, reversed(names)), path)
