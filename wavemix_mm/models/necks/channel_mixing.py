"""The channel-mixing layer of the ImageNet models."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from wavemix_mm.registry import MODELS


@MODELS.register_module()
class ChannelMixing(BaseModule):
    """1x1 convolution, then global average pooling (Figure 1a; Tables 4, 9, 10).

    Both are linear, so the pooling comes first: the convolution then costs one pixel only.

    Args:
        in_channels: Channels C of the backbone.
        out_channels: Output channels, the input of the linear layer.
        init_cfg: Initialization config.
    """

    def __init__(
        self, in_channels: int, out_channels: int = 1024, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Tuple of (N, in_channels, H, W) -> tuple of (N, out_channels)."""
        return tuple(self.conv(self.pool(x)).flatten(1) for x in inputs)
