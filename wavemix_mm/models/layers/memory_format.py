"""Keep gradients, not only activations, in channels_last memory format."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _ChannelsLastGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        if grad.device.type == "cpu" and grad.dtype == torch.float32:
            # Batch norm's kernel for dense channels_last gradients sums in float32 there, which
            # costs a digit or two below a pooling, where sums cancel; the slow one is exact.
            return grad
        return grad.contiguous(memory_format=torch.channels_last)


def channels_last_gradient(x: Tensor) -> Tensor:
    """Return x unchanged, and make its gradient dense and channels_last in the backward pass.

    The gradient of a pooling comes as an expanded tensor, that of a concatenation as a slice. Batch
    norm's backward pass on a CPU is many times slower on either than on a dense tensor of its
    input's format, and what it returns would carry the wrong format on through the network. In
    float32 on a CPU the gradient is left as it is, for the sake of its accuracy.

    Args:
        x: (N, C, H, W).
    """
    return _ChannelsLastGradient.apply(x) if x.requires_grad else x
