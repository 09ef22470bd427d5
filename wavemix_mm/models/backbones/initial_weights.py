"""Log which tensors a backbone takes from the checkpoint in its init_cfg."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.backbones.old_names import current_name

_SHOWN_KEYS = 8


def log_taken(module: BaseModule) -> None:
    """Log how many tensors of each part of a module the checkpoint of its init_cfg has.

    mmengine itself logs the keys that differ, but not the statistics of norms.

    Args:
        module: With the parts `stem` and `blocks`.

    Raises:
        UserInputError: If no tensor fits.
    """
    cfgs = module.init_cfg if isinstance(module.init_cfg, list) else [module.init_cfg or {}]
    for cfg in cfgs:
        if cfg.get("type") in ("Pretrained", PretrainedInit):
            _log_taken(module, cfg["checkpoint"], cfg.get("prefix") or "")


def _log_taken(module: BaseModule, path: str, prefix: str) -> None:
    from mmengine.runner import CheckpointLoader  # only here: it takes a second to import

    prefix = f"{prefix.rstrip('.')}." if prefix else ""
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location="cpu")
    there = {
        current_name(key.removeprefix("module.").removeprefix(prefix)): value.shape
        for key, value in checkpoint.get("state_dict", checkpoint).items()
        if key.removeprefix("module.").startswith(prefix)
    }
    state = module.state_dict()
    missing = [key for key, value in state.items() if there.get(key) != value.shape]
    if len(missing) == len(state):
        raise UserInputError(
            f"checkpoint {path} has no tensor that fits {type(module).__name__}; its first is "
            f"{next(iter(there), 'of another part')}."
        )
    parts: dict[str, list[str]] = {}
    for key in state:
        names = key.split(".")
        parts.setdefault(".".join(names[: 2 if names[0] == "blocks" else 1]), []).append(key)
    counts = ", ".join(
        f"{part} {len(set(keys).difference(missing))}/{len(keys)}" for part, keys in parts.items()
    )
    message = (
        f"{type(module).__name__} takes {len(state) - len(missing)} of {len(state)} tensors from "
        f"{path}: {counts}"
    )
    if missing:
        more = f" and {len(missing) - _SHOWN_KEYS} more" if len(missing) > _SHOWN_KEYS else ""
        message += f"; as initialized stay {', '.join(missing[:_SHOWN_KEYS])}{more}"
    print_log(message, logger="current", level=logging.WARNING if missing else logging.INFO)
