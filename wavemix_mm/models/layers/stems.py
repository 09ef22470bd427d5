"""The two initial layers of the paper (section 3.1, Table 12)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.models.layers.norm_act import build_act_layer, build_norm_layer
from wavemix_mm.registry import MODELS


@MODELS.register_module()
class StridedStem(nn.Module):
    """Two 3x3 convolutions, in_channels -> C/2 -> C, without norm or activation.

    The paper's choice for segmentation (stride 2 each) and for images under 128x128 (stride 1).

    Args:
        in_channels: Channels of the image.
        embed_dims: Channels C to give, even.
        stride: Stride of each of the two convolutions.
    """

    def __init__(self, in_channels: int, embed_dims: int, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride**2
        self.conv1 = nn.Conv2d(in_channels, embed_dims // 2, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(embed_dims // 2, embed_dims, 3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, C, H/stride**2, W/stride**2), each side rounded up."""
        return self.conv2(self.conv1(x))


@MODELS.register_module()
class PatchStem(nn.Module):
    """Patchifying layer: 3x3 to C/4, 3x3 to C/2, patch convolution to C, GELU, batch norm.

    The paper's choice for images of 128x128 and more.

    Args:
        in_channels: Channels of the image.
        embed_dims: Channels C to give, divisible by 4.
        patch_size: Kernel and stride of the last convolution.
        norm_cfg: Normalization layer.
        act_cfg: Activation layer.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        patch_size: int = 4,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.stride = patch_size
        self.conv1 = nn.Conv2d(in_channels, embed_dims // 4, 3, padding=1)
        self.conv2 = nn.Conv2d(embed_dims // 4, embed_dims // 2, 3, padding=1)
        self.patch_conv = nn.Conv2d(embed_dims // 2, embed_dims, patch_size, patch_size)
        self.act = build_act_layer(act_cfg or dict(type="GELU"))
        self.norm = build_norm_layer(norm_cfg or dict(type="BN"), embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, C, H/patch_size, W/patch_size), each side rounded down.

        An image smaller than one patch is zero-padded at the bottom and right to one patch.
        """
        x = self.conv2(self.conv1(x))
        height, width = x.shape[-2:]
        if height < self.stride or width < self.stride:
            x = F.pad(x, (0, max(self.stride - width, 0), 0, max(self.stride - height, 0)))
        return self.norm(self.act(self.patch_conv(x)))
