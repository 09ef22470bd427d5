"""What all processes resume from, and what torchrun restarts."""

from __future__ import annotations

import os

from mmengine.config import Config
from mmengine.dist import all_gather_object

from wavemix_mm.engine import resume
from wavemix_mm.engine.checkpoint_files import find_newest_good
from wavemix_mm.engine.distributed import agree
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
        resume.set_resume(cfg, chosen)
        return cfg.get("resume", False), cfg.get("load_from")

    cfg.resume, cfg.load_from = agree(decide)


def _may_restart() -> bool:
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


def _of_attempt(cfg: Config, option: str | None, attempt: int) -> str | None:
    newest, damaged = find_newest_good(cfg.work_dir, *resume.out_dirs(cfg))
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
