"""Patch convolution that also takes an image smaller than a patch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.models.layers.strided_conv import strided_conv
from wavemix_mm.models.layers.tracing import is_symbolic, one_node


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
