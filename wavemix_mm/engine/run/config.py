"""Read a config, merge the options of the command line, and adapt it to this machine."""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device

from wavemix_mm.engine.messages import building, error_message, warn
from wavemix_mm.engine.parallel.distributed import ACCELERATORS
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import type_name

# Names under which norms that need several processes are registered, and their classes' names.
_SYNC_NORMS = ("SyncBN", "MMSyncBN", "SyncBatchNorm", "NaiveSyncBatchNorm")
_AMP_ONLY_KEYS = ("loss_scale", "dtype", "use_fsdp")


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
        raise UserInputError(
            f"config {path} cannot be read: {where}{error_message(error)}"
        ) from error
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


def _base_being_read(error: Exception, path: str) -> str | None:
    """The file that mmengine was reading when the error came, if it is not ``path`` itself."""
    names = [
        frame.f_locals.get("filename")
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("mmengine.config")
    ]
    files = [os.path.abspath(name) for name in names if isinstance(name, str)]
    return files[-1] if files and files[-1] != os.path.abspath(path) else None
