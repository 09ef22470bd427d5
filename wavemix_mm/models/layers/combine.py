"""Layers without parameters that run convolutions in turn and join maps.

``wavemix_mm/models/fast`` exchanges them for faster ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class InTurn(nn.Module):
    """Apply layers one after the other."""

    def forward(self, x: Tensor, *layers: nn.Module) -> Tensor:
        """Return layers[-1](... layers[0](x))."""
        for layer in layers:
            x = layer(x)
        return x


class Add(nn.Module):
    """Add two maps."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, C, H, W), twice -> (N, C, H, W)."""
        return x + y


class Concat(nn.Module):
    """Concatenate maps along their channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps (N, c_i, H, W) -> (N, sum of c_i, H, W)."""
        return torch.cat(maps, dim=1) if len(maps) > 1 else maps[0]
