"""Optimizer wrappers that mmengine does not have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from wavemix_mm.engine.messages import warn
from wavemix_mm.processor import is_cpu_fast_in_bfloat16
from wavemix_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast, on a CPU too.

    mmengine's AmpOptimWrapper needs an accelerator, since it scales the loss for float16. bfloat16
    has the range of float32 and needs no scaling, so this is a plain OptimWrapper otherwise.

    bfloat16 is faster than float32 on CPUs with instructions for it (AMX or AVX-512 BF16). On other
    CPUs it is far slower. There the forward pass stays in float32, and a warning says so once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._device_type = torch.device(get_device()).type
        self._enabled = self._device_type != "cpu" or is_cpu_fast_in_bfloat16()
        if not self._enabled:
            _warn_of_float32()

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, beside what OptimWrapper does for gradient accumulation."""
        autocast = torch.autocast(self._device_type, torch.bfloat16, self._enabled)
        with super().optim_context(model), autocast:
            yield


@cache  # a run may have several wrappers
def _warn_of_float32() -> None:
    warn(
        "this CPU has no fast bfloat16 (AMX or AVX-512 BF16): BFloat16OptimWrapper trains in "
        "float32."
    )
