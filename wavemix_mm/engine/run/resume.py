"""Find the checkpoint that a run resumes from."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import all_gather_object

from wavemix_mm.engine.checkpoints.files import (
    find_checkpoint,
    find_damage,
    find_newest_good,
    sidecar,
)
from wavemix_mm.engine.parallel.distributed import agree
from wavemix_mm.engine.run.config import hook_configs
from wavemix_mm.errors import UserInputError


def set_resume(cfg: Config, option: str | None) -> None:
    """Set ``cfg.resume`` and ``cfg.load_from``; the first process decides for all.

    After a restart by ``torchrun --max-restarts`` the run resumes from the newest whole checkpoint
    of the work dir. To avoid resuming another run, the first attempt stops if the work dir has a
    checkpoint that is newer than the one to resume from.

    Args:
        cfg: The config; ``cfg.work_dir`` must be set. Its ``resume=True`` without a ``load_from``
            counts as 'auto'.
        option: A checkpoint, 'auto' for the newest whole one of the work dir, or None. If the work
            dir has none yet, 'auto' counts as None.

    Raises:
        UserInputError: If the checkpoint is damaged, if the work dir has checkpoints and none of
            them is whole, or if it has checkpoints of another run (see above).
    """
    # torchrun does not count restarts on nodes whose own processes did not fail
    attempt = max(all_gather_object(int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))))
    cfg.resume, cfg.load_from = agree(lambda: _decide(cfg, option, attempt))


def _decide(cfg: Config, option: str | None, attempt: int) -> tuple[bool, str | None]:
    if option is None and cfg.get("resume"):
        option = cfg.get("load_from") or "auto"
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0:
        newest, damaged = find_newest_good(cfg.work_dir, *out_dirs(cfg))
        if attempt > 0:
            # before the run has written a checkpoint, it starts from the given one again
            option = "auto" if newest or damaged or option is None else option
        elif newest and option != "auto" and not _is_file(newest, option):
            raise UserInputError(
                f"work dir {cfg.work_dir} has {newest.name}, and a restart by torchrun would "
                "resume from it: give --resume to do so from the start, or take another work dir."
            )
    if option == "auto":
        newest = find_checkpoint(cfg.work_dir, *out_dirs(cfg))
        option = str(newest) if newest else None
    elif option and os.path.isfile(option):
        # the loader has a better message for a file of another kind
        is_checkpoint = sidecar(Path(option)).is_file() or zipfile.is_zipfile(option)
        if is_checkpoint and (cause := find_damage(Path(option))):
            raise UserInputError(f"checkpoint {option} is damaged: {cause}.")
    return option is not None, option or cfg.get("load_from")


def _is_file(path: Path, option: str | None) -> bool:
    """Tell whether an option names this file; it may be an address, too."""
    return option is not None and os.path.exists(option) and path.samefile(option)


def out_dirs(cfg: Config) -> list[str]:
    """Return the other folders to which the hooks of a config write checkpoints."""
    name = os.path.basename(cfg.work_dir.rstrip(os.sep))
    folders = [hook.get("out_dir") for hook in hook_configs(cfg).values()]
    return [os.path.join(folder, name) for folder in folders if folder]
