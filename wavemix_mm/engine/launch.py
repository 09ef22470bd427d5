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

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.runner import find_latest_checkpoint
from torch import nn

from wavemix_mm.errors import UserInputError

_AMP_DEVICES = ("cuda", "npu", "mlu", "musa")  # what AmpOptimWrapper accepts
_AMP_ONLY_KEYS = ("loss_scale", "dtype", "use_fsdp")
# What mmengine reads of the environment, and what sets it.
_LAUNCHERS = {
    "pytorch": (
        ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        "torchrun sets: use tools/dist_train.sh or tools/dist_test.sh",
    ),
    "slurm": (("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"), "srun sets: start it with srun"),
    "mpi": (
        ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        "Open MPI sets: start it with mpirun",
    ),
}
# Advice that mmengine adds to its messages.
_ADVICE = (" Please check whether", ", the current sys.path is")
# What some of its messages mean.
_MEANINGS = {
    "need at least one array to concatenate": "a dataset found no files in its folders: check "
    "data_root, data_prefix, img_suffix and seg_map_suffix; docs/datasets.md shows the layouts",
    "None is not a callable object": "optim_wrapper.optimizer.type names no registered optimizer",
}


@contextlib.contextmanager
def cli_errors() -> Iterator[None]:
    """Print a user's mistake as one sentence and exit with status 1, without a traceback.

    WAVEMIX_MM_TRACEBACK=1 in the environment shows the traceback.
    """
    try:
        yield
    except UserInputError as error:
        if os.environ.get("WAVEMIX_MM_TRACEBACK") == "1":
            raise
        sys.exit(f"error: {error}")


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
        raise UserInputError(f"{what}: {sentence(error)}") from error


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


def set_resume(cfg: Config, resume: str | None) -> None:
    """Set what the run resumes from; ``cfg.work_dir`` must be set.

    Args:
        cfg: The config; its own ``resume=True`` without a ``load_from`` counts as 'auto'.
        resume: A checkpoint, 'auto' for the newest in the work dir, or None. Where the work dir
            has none yet, the run starts as it would without resuming, ``load_from`` included.

    Raises:
        UserInputError: If the checkpoint that was written last is gone.
    """
    if resume not in (None, "auto"):
        cfg.resume, cfg.load_from = True, resume
    elif resume == "auto" or (cfg.get("resume") and not cfg.get("load_from")):
        newest = _newest_checkpoint(cfg.work_dir)
        cfg.resume = newest is not None
        if newest:
            cfg.load_from = newest
        else:
            _warn(f"work dir {cfg.work_dir} has no checkpoint to resume from: starting anew.")


def _newest_checkpoint(work_dir: str) -> str | None:
    if not os.path.isfile(os.path.join(work_dir, "last_checkpoint")):
        return None
    newest = find_latest_checkpoint(work_dir) or ""
    # the path is as the run wrote it: the work dir may have been moved since
    for path in (newest, os.path.join(work_dir, os.path.basename(newest))):
        if os.path.isfile(path):
            return path
    raise UserInputError(f"{work_dir}/last_checkpoint names {newest!r}, which does not exist.")


def adapt_to_machine(cfg: Config, launcher: str) -> None:
    """Change what of a config cannot run here, with one warning line for each kind of change.

    Without an accelerator AmpOptimWrapper becomes OptimWrapper and SyncBN becomes BN; SyncBN does
    so in a run of one process too. ``persistent_workers`` is dropped where there are no workers,
    ``pin_memory`` without an accelerator: torch would warn of either.
    """
    no_accelerator = get_device() not in _AMP_DEVICES
    nodes = list(_dicts(cfg._cfg_dict))
    if no_accelerator:
        amp = [node for node in nodes if type_name(node) == "AmpOptimWrapper"]
        for node in amp:
            node["type"] = "OptimWrapper"
            for key in _AMP_ONLY_KEYS:
                node.pop(key, None)
        if amp:
            _warn("no accelerator was found: training in float32 (OptimWrapper), not AMP.")
    if no_accelerator or launcher == "none":
        sync = [node for node in nodes if type_name(node) in ("SyncBN", "MMSyncBN")]
        for node in sync:
            node["type"] = "BN"
        if sync:
            _warn("SyncBN needs several processes with an accelerator each: using BN.")
    for node in nodes:
        if node.get("num_workers") == 0 and node.get("persistent_workers"):
            node["persistent_workers"] = False
        if no_accelerator and node.get("pin_memory"):
            node["pin_memory"] = False


def init_distributed(cfg: Config, launcher: str) -> None:
    """Set the launcher; on a machine without an accelerator start the gloo process group.

    mmengine's own start selects a CUDA device in any case, and its DistributedDataParallel gets
    device ids, so that neither works on a CPU.

    Raises:
        UserInputError: If the launcher's environment variables are missing.
    """
    cfg.launcher = launcher
    if launcher == "none":
        return
    names, origin = _LAUNCHERS[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise UserInputError(
            f"--launcher {launcher} needs {', '.join(missing)} in the environment, which {origin}."
        )
    if launcher == "pytorch" and get_device() not in _AMP_DEVICES:
        torch.distributed.init_process_group("gloo")
        if cfg.get("model_wrapper_cfg") is None:  # mmengine's own defaults, but for the device ids
            cfg.model_wrapper_cfg = dict(
                type="MMDistributedDataParallel",
                broadcast_buffers=False,
                find_unused_parameters=cfg.get("find_unused_parameters", False),
            )
        cfg.model_wrapper_cfg.device_ids = None


def switch_to_deploy(model: nn.Module) -> None:
    """Call ``switch_to_deploy()`` on every part of a model that has it."""
    for module in list(model.modules()):
        # a folded part may have been removed by the one that contained it: harmless
        if hasattr(module, "switch_to_deploy"):
            module.switch_to_deploy()


def type_name(node: dict) -> str | None:
    """The class that a dict of a config names, without its scope; None if it names none."""
    kind = node.get("type")
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", None)


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


def _warn(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(f"warning: {message}", file=sys.stderr)
