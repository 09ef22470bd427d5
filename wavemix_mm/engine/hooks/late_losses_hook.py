"""Note losses for the log without waiting for the GPU in each step."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from wavemix_mm.registry import HOOKS


@HOOKS.register_module()
class LateLossesHook(RuntimeInfoHook):
    """mmengine's RuntimeInfoHook, but losses go to the message hub only when they are logged.

    mmengine reads each loss in each step, so that the GPU has nothing to do while Python prepares
    the next step. Log and checkpoints are the same. Hooks that look into the message hub between
    two lines of the log do not see the losses since the last line.

    Example:
        >>> default_hooks = dict(runtime_info=dict(type='wavemix_mm.LateLossesHook'))
    """

    def __init__(self) -> None:
        self._waiting: list[dict[str, Any]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Keep the losses; note all if LoggerHook is going to log them."""
        values = {k: v.detach() if isinstance(v, Tensor) else v for k, v in (outputs or {}).items()}
        self._waiting.append(values)
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)] or [1]
        is_logged = any(self.every_n_inner_iters(batch_idx, n) for n in intervals)
        if is_logged or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._note(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the losses: a checkpoint contains the message hub."""
        self._note(runner)
        checkpoint["message_hub"]["log_scalars"] = runner.message_hub.state_dict()["log_scalars"]

    def after_train(self, runner: Runner) -> None:
        """Note the losses."""
        self._note(runner)
        super().after_train(runner)

    def _note(self, runner: Runner) -> None:
        for outputs in self._waiting:
            super().after_train_iter(runner, 0, None, outputs)
        self._waiting.clear()
