"""Better messages from mmengine's inferencers."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from wavemix_mm.errors import UserInputError


def explain_inferencers(infer_module: ModuleType) -> None:
    """Let an inferencer that is given weights alone say that it needs a config.

    mmengine would say that the checkpoint holds no config. `read_checkpoint` has dropped it.

    Args:
        infer_module: The module mmengine.infer.infer.
    """
    init_model = infer_module.BaseInferencer._init_model

    @functools.wraps(init_model)
    def explained(self: Any, cfg: Any, weights: str | None, *args: Any, **kwargs: Any) -> Any:
        try:
            return init_model(self, cfg, weights, *args, **kwargs)
        except (AssertionError, KeyError, ValueError) as error:
            # mmengine fills an empty cfg with what it finds in the checkpoint
            if cfg or weights is None or isinstance(error, UserInputError):
                raise
            raise UserInputError(
                f"checkpoint {weights} was given without a config: wavemix_mm does not read "
                "configs out of checkpoints, because they are code (docs/reliability.md); name the "
                "config: "
                f"{type(self).__name__}('path/to/config.py', {weights!r})."
            ) from error

    infer_module.BaseInferencer._init_model = explained
