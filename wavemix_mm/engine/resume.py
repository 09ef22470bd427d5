"""What a run resumes from, and what has changed in its schedule since."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import IterBasedTrainLoop, Runner

from wavemix_mm.engine.checkpoint_files import find_damage, find_newest_good, sidecar
from wavemix_mm.engine.launch import warn
from wavemix_mm.errors import UserInputError

# What a scheduler's step() changes.
_PROGRESS = (
    *("last_step", "_global_step", "_last_value", "verbose"),
    *("best", "num_bad_epochs", "cooldown_counter"),  # of the plateau schedulers
)


def set_resume(cfg: Config, resume: str | None) -> None:
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


def changes_of_schedule(runner: Runner, checkpoint: dict) -> list[str]:
    """Say where the length of the run or its schedulers differ from those of a checkpoint.

    The loop takes its length from the config; the schedulers go on with what the checkpoint says.

    Args:
        runner: The runner that resumes, before the state is loaded.
        checkpoint: What it resumes from.

    Returns:
        One sentence for each difference.
    """
    unit = "max_iters" if isinstance(runner.train_loop, IterBasedTrainLoop) else "max_epochs"
    before = checkpoint["message_hub"]["runtime_info"].get(unit)
    now = getattr(runner, unit)
    changes = []
    if before not in (None, now):
        changes.append(
            f"{unit} is {now} in the config and was {before} when the checkpoint was written: the "
            f"run ends at {now}, the schedulers keep the ends that they had."
        )
    ours, theirs = _flat(runner.param_schedulers), _flat(checkpoint.get("param_schedulers"))
    if theirs and len(ours) != len(theirs):
        changes.append(
            f"the number of schedulers is {len(ours)} in the config and {len(theirs)} in the "
            "checkpoint."
        )
    for scheduler, state in zip(ours, theirs, strict=False):
        differences = [
            f"{key} is {_shown(value)} in the config and {_shown(state[key])} in the checkpoint"
            for key, value in scheduler.state_dict().items()
            if key in state and key not in _PROGRESS and state[key] != value
        ]
        if differences:
            changes.append(
                f"{type(scheduler).__name__} goes on as in the checkpoint: "
                f"{', '.join(differences)}."
            )
    return changes


def samples_seen_again(runner: Runner, meta: dict) -> str | None:
    """Say that a resumed epoch begins anew, or None.

    Args:
        runner: The runner, resumed.
        meta: That of the checkpoint.
    """
    batches = runner.iter - runner.epoch * len(runner.train_dataloader)
    if isinstance(runner.train_loop, IterBasedTrainLoop) or "sampler" in meta or batches <= 0:
        return None
    return (
        f"the checkpoint is from the middle of an epoch, which begins anew: {batches} of its "
        "batches come again. With sampler=dict(type='wavemix_mm.StatelessSampler') and "
        "StatelessSeedHook it would go on with the next one."
    )


def _flat(schedulers: Any) -> list:
    if isinstance(schedulers, dict):  # of several optimizers
        return [item for part in schedulers.values() for item in part]
    return list(schedulers or [])


def _shown(value: Any) -> Any:
    return sorted(value.elements()) if hasattr(value, "elements") else value  # milestones
