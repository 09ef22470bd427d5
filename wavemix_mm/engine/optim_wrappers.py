"""Optimizer wrappers that mmengine does not have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from wavemix_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast, on a CPU too.

    mmengine's AmpOptimWrapper needs an accelerator, since it scales the loss for float16. bfloat16
    has the range of float32 and needs no scaling, so this is a plain OptimWrapper otherwise. On
    processors with bfloat16 matrix units it is faster than float32; on those for which oneDNN has
    no bfloat16 at all, where it would be far slower, the forward pass stays in float32.
    """

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, beside what OptimWrapper does for gradient accumulation."""
        device_type = torch.device(get_device()).type
        enabled = device_type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        with super().optim_context(model), torch.autocast(device_type, torch.bfloat16, enabled):
            yield
