"""What a backbone takes from the checkpoint that its init_cfg names, as one line of the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn

from wavemix_mm.errors import UserInputError

_SHOWN_KEYS = 8


def log_taken(module: nn.Module, init_cfg: Mapping[str, Any]) -> None:
    """Log how many tensors of each part of a module a checkpoint has in the same shape.

    mmengine names what differs, and in the log's file what each parameter was set by; norms'
    statistics are in neither list.

    Args:
        module: With the parts `stem` and `blocks`.
        init_cfg: `dict(type='Pretrained', checkpoint=..., prefix=...)`.

    Raises:
        UserInputError: If no tensor fits.
    """
    from wavemix_mm.engine.loading import read_state_dict

    path, prefix = init_cfg["checkpoint"], init_cfg.get("prefix") or ""
    prefix = f"{prefix.rstrip('.')}." if prefix else ""
    there = {
        key.removeprefix(prefix): value.shape
        for key, value in read_state_dict(path).items()
        if key.startswith(prefix)
    }
    parts: dict[str, list[bool]] = {}
    missing = []
    for key, value in module.state_dict().items():
        taken = there.get(key) == value.shape
        names = key.split(".")
        part = ".".join(names[: 2 if names[0] == "blocks" else 1])
        parts.setdefault(part, []).append(taken)
        if not taken:
            missing.append(key)
    number, total = (sum(map(count, parts.values())) for count in (sum, len))
    if not number:
        raise UserInputError(
            f"checkpoint {path} has no tensor that fits {type(module).__name__}; its first is "
            f"{next(iter(there), 'of another part')}."
        )
    counts = ", ".join(f"{part} {sum(taken)}/{len(taken)}" for part, taken in parts.items())
    message = f"{type(module).__name__} takes {number} of {total} tensors from {path}: {counts}"
    if missing:
        more = f" and {len(missing) - _SHOWN_KEYS} more" if len(missing) > _SHOWN_KEYS else ""
        message += f"; as initialized stay {', '.join(missing[:_SHOWN_KEYS])}{more}"
    print_log(message, logger="current", level=logging.WARNING if missing else logging.INFO)
