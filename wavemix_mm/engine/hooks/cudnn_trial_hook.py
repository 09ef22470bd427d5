"""Keep cuDNN's trial of algorithms out of validations."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from wavemix_mm.registry import HOOKS


@HOOKS.register_module()
class CudnnTrialHook(Hook):
    """Let cuDNN try its algorithms in training alone (``env_cfg.cudnn_benchmark``).

    The trial takes memory: 67 GB for one image of 1024x2048, at the first validation of a training
    that took 30 GB. It also runs anew for each size of images.

    Example:
        >>> default_hooks = dict(cudnn_trial=dict(type='wavemix_mm.CudnnTrialHook'))
    """

    def before_val(self, runner: Runner) -> None:
        """Switch the trial off."""
        self._was_on = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = False

    def after_val(self, *args: Any, **kwargs: Any) -> None:
        """Set the trial as it was."""
        torch.backends.cudnn.benchmark = self._was_on
