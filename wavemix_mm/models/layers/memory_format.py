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
        return grad.contiguous(memory_format=torch.channels_last)


def channels_last_gradient(x: Tensor) -> Tensor:
    """Return x unchanged, and make its gradient dense and channels_last in the backward pass.

    The gradient of a pooling comes as an expanded tensor, that of a concatenation as a slice. Batch
    norm's backward pass on a CPU is many times slower on either than on a dense tensor of its
    input's format, and what it returns would carry the wrong format on through the network.

    Args:
        x: (N, C, H, W).
    """
    return _ChannelsLastGradient.apply(x) if x.requires_grad else x
