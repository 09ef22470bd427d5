"""Convolutions with a stride, several convolutions in turn, and what stands before one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.models.layers.tracing import is_symbolic, one_node


class InTurn(nn.Module):
    """Apply layers one after the other. It has none of its own, so that their names stay."""

    def forward(self, x: Tensor, *layers: nn.Module) -> Tensor:
        """Return layers[-1](... layers[0](x))."""
        for layer in layers:
            x = layer(x)
        return x


class Concat(nn.Module):
    """Concatenate two maps along their channels. ``wavemix_mm/models/fast`` exchanges it."""

    def forward(self, x: Tensor, higher: Tensor | None = None) -> Tensor:
        """(N, C, H, W)[, (N, D, H, W)] -> (N, C + D, H, W)."""
        return x if higher is None else torch.cat((x, higher), dim=1)


class PatchConv(nn.Conv2d):
    """nn.Conv2d whose kernel is its stride; an image smaller than a patch is padded to one.

    Zeros are added at the bottom and right.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        patch_size: Kernel and stride.
    """

    def __init__(self, in_channels: int, out_channels: int, patch_size: int) -> None:
        super().__init__(in_channels, out_channels, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H/patch_size, W/patch_size), rounded down."""
        x = pad_to_patch(x, self.stride[0])
        return strided_conv(x, self.weight, self.bias, self.stride[0])


@one_node
def pad_to_patch(x: Tensor, patch_size: int) -> Tensor:
    """Zero-pad an image that is smaller than a patch at the bottom and right."""
    height, width = x.shape[-2:]
    if is_symbolic() or height >= patch_size <= width:
        return x
    return F.pad(x, (0, max(patch_size - width, 0), 0, max(patch_size - height, 0)))


@one_node
def strided_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int | tuple[int, int]
) -> Tensor:
    """Convolve without padding, as F.conv2d, but with a right result in bfloat16 on a CPU.

    On CPUs with AMX, oneDNN's bfloat16 convolution with a stride fills a result of one column from
    memory that was never written (torch 2.11; similar to pytorch#169688). A result of one row is
    right. Such a convolution is therefore done with height and width exchanged.

    Args:
        x: (N, A, H, W).
        weight: (C, A, k, m).
        bias: (C,) or None.
        stride: Of both sides, or of the height and of the width.

    Returns:
        (N, C, (H-k)//stride + 1, (W-m)//stride + 1).
    """
    down, right = (stride, stride) if isinstance(stride, int) else stride
    # while exporting or tracing, the sides stand for others too
    if is_symbolic() or x.shape[-1] >= weight.shape[-1] + right:
        return F.conv2d(x, weight, bias, (down, right))
    x, weight = x.transpose(2, 3), weight.transpose(2, 3)
    return F.conv2d(x, weight, bias, (right, down)).transpose(2, 3)
