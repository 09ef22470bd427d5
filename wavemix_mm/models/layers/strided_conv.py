"""Strided convolution that avoids a wrong result in bfloat16 on a CPU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from wavemix_mm.models.layers.tracing import is_symbolic, one_node


@one_node
def strided_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve without padding, as F.conv2d.

    On CPUs with AMX, oneDNN's bfloat16 convolution with a stride fills a result of one column from
    memory that was never written (torch 2.11; the like of pytorch#169688). A result of one row is
    right, so that here such a convolution is done with height and width exchanged.

    Args:
        x: (N, A, H, W).
        weight: (C, A, k, m).
        bias: (C,) or None.
        stride: Of both sides.

    Returns:
        (N, C, (H-k)//stride + 1, (W-m)//stride + 1).
    """
    # while exporting or tracing, the sides stand for others too
    if is_symbolic() or x.shape[-1] >= weight.shape[-1] + stride:
        return F.conv2d(x, weight, bias, stride)
    return F.conv2d(x.transpose(2, 3), weight.transpose(2, 3), bias, stride).transpose(2, 3)
