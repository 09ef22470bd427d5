"""Gradients that are dense and channels_last.

A training step in bfloat16 is 1.04 to 1.08 times as fast (one CPU thread). The gradient of a
concatenation is a slice, and the gradient of a pooling is expanded. PyTorch's kernels for sums and
batch norm are up to ten times slower on such tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wavemix_mm.models.layers.tracing import is_symbolic, one_node


@one_node
def channels_last_gradient(x: Tensor) -> Tensor:
    """Return x, and make its gradient dense and channels_last in the backward pass."""
    if x.requires_grad and not x.is_leaf and not is_symbolic():
        x.register_hook(_to_channels_last)
    return x


def _to_channels_last(grad: Tensor | None) -> Tensor | None:
    # None stands for zeros that were never computed
    return None if grad is None else grad.contiguous(memory_format=torch.channels_last)
