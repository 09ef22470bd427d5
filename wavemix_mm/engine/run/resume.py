"""What a run resumes from, and what has changed in its schedule since."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import all_gather_object

from wavemix_mm.engine.checkpoints.files import find_damage, find_newest_good, sidecar
from wavemix_mm.engine.messages import warn
from wavemix_mm.engine.parallel.distributed import agree
from wavemix_mm.errors import UserInputError


def set_resume(cfg: Config, option: str | None) -> None:
    """Set what the run resumes from; the first process decides for all.

    After a restart by ``torchrun --max-restarts`` that is the newest whole checkpoint of the work
    dir, whatever the option says. So that it is one of this run, the first attempt refuses a work
    dir with a newer checkpoint than the one that it goes on from.

    Args:
        cfg: The config; ``cfg.work_dir`` must be set.
        option: As of `resume.set_resume`.

    Raises:
        UserInputError: See above, and `resume.set_resume`.
    """
    # on the nodes whose own processes did not fail torchrun does not count
    attempt = max(all_gather_object(int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))))

    def decide() -> tuple[bool, str | None]:
        chosen = _of_attempt(cfg, option, attempt) if _may_restart() else option
        _set_resume(cfg, chosen)
        return cfg.get("resume", False), cfg.get("load_from")

    cfg.resume, cfg.load_from = agree(decide)


def _may_restart() -> bool:
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


def _of_attempt(cfg: Config, option: str | None, attempt: int) -> str | None:
    newest, damaged = find_newest_good(cfg.work_dir, *out_dirs(cfg))
    if attempt > 0:
        # a checkpoint that was given is where to begin as long as there is none of this run
        return "auto" if newest or damaged or option is None else option
    if option is None and cfg.get("resume"):
        option = cfg.get("load_from") or "auto"
    goes_on = option == "auto" or (option and newest and newest.samefile(option))
    if newest and not goes_on:
        raise UserInputError(
            f"work dir {cfg.work_dir} has {newest.name}, from which a restart by torchrun would go "
            "on: give --resume to do so from the start, or take another work dir."
        )
    return option


def _set_resume(cfg: Config, resume: str | None) -> None:
    """Set what the run resumes from; ``cfg.work_dir`` must be set.

    Args:
        cfg: The config; its own ``resume=True`` without a ``load_from`` counts as 'auto'.
        resume: A checkpoint, 'auto' for the newest whole one of the work dir, or None. Where the
            work dir has none yet, the run starts as it would without resuming, ``load_from``
            included.

    Raises:
        UserInputError: If the checkpoint is damaged, or the work dir has checkpoints and none of
            them is whole.
    """
    if resume not in (None, "auto"):
        cfg.resume, cfg.load_from = True, resume
    elif resume == "auto" or (cfg.get("resume") and not cfg.get("load_from")):
        newest = find_checkpoint(cfg.work_dir, *out_dirs(cfg))
        cfg.resume = newest is not None
        if newest:
            cfg.load_from = str(newest)
        return  # its hash was compared
    path = Path(cfg.load_from) if cfg.get("resume") else None
    # the loader says better what is no checkpoint at all
    if path and path.is_file() and (sidecar(path).is_file() or zipfile.is_zipfile(path)):
        cause = find_damage(path)
        if cause:
            raise UserInputError(f"checkpoint {cfg.load_from} is damaged: {cause}.")


def find_checkpoint(work_dir: str, *folders: str) -> Path | None:
    """Find the newest whole checkpoint of a run, with a warning for each that is damaged.

    Args:
        work_dir: Folder of the run.
        *folders: Other folders with checkpoints of it.

    Returns:
        The checkpoint; None, with a warning, if the run has written none.

    Raises:
        UserInputError: If there are checkpoints, but none to resume from: to begin at epoch 0 would
            overwrite them.
    """
    newest, damaged = find_newest_good(work_dir, *folders)
    causes = [f"{path}: {cause}" for path, cause in damaged]
    if newest is None and not causes:
        causes = [
            f"{path}: it has no optimizer state"
            for folder in (work_dir, *folders)
            for path in sorted(Path(folder).glob("best_*.pth"))
        ]
    if newest is None and causes:
        raise UserInputError(
            f"work dir {work_dir} has no checkpoint to resume from ({'; '.join(causes)}); to start "
            "anew, leave out --resume or take another work dir."
        )
    if newest is None:
        warn(f"work dir {work_dir} has no checkpoint to resume from: starting anew.")
    for cause in causes:
        warn(f"damaged checkpoint {cause}; resuming from {newest}.")
    return newest


def out_dirs(cfg: Config) -> list[str]:
    """The other folders to which a config's hooks write checkpoints, as mmengine names them."""
    hooks = [*(cfg.get("default_hooks") or {}).values(), *(cfg.get("custom_hooks") or [])]
    name = os.path.basename(cfg.work_dir.rstrip(os.sep))
    return [os.path.join(hook["out_dir"], name) for hook in hooks if hook and hook.get("out_dir")]
