"""Log the mean loss over all processes."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from wavemix_mm.registry import HOOKS


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Log each loss as its mean over the processes, which is the mean over the whole batch.

    Plain mmengine logs the loss of the first process alone. The hook takes one all-reduce of a few
    numbers in each step, and does nothing if there is one process.

    Example:
        >>> default_hooks = dict(mean_loss=dict(type='wavemix_mm.MeanLossHook'))
    """

    # before RuntimeInfoHook, which notes the values for the log
    priority = "HIGHEST"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Replace the losses of this process by the means over the processes."""
        if not outputs or get_world_size() == 1:
            return
        names = [name for name, value in outputs.items() if isinstance(value, torch.Tensor)]
        means = torch.stack([outputs[name].detach().float().mean() for name in names])
        all_reduce(means, "mean")
        outputs.update(zip(names, means, strict=True))
