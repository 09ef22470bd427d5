"""Dropout that does not wait for its random numbers on a CPU.

A training step is 1.03 (float32) to 1.1 (bfloat16) times as fast on one CPU thread.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavemix_mm.models.layers.tracing import is_symbolic, one_node

_RANGE = 1 << 16


class Dropout(nn.Dropout):
    """nn.Dropout, several times faster on a CPU.

    PyTorch draws a number for each element there. Here one of 64 bits serves four elements. The
    share of elements kept is rounded to a multiple of 2**-16, and the kept elements are scaled by
    that share, so the mean stays.
    """

    @one_node
    def forward(self, x: Tensor) -> Tensor:
        """Any shape, floating point -> the same."""
        kept = round((1 - self.p) * _RANGE)
        if not self.training or not 0 < kept < _RANGE or x.device.type != "cpu" or is_symbolic():
            return super().forward(x)
        noise = torch.empty_like(x)
        bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = bits.view(torch.int16)[: x.numel()].as_strided(noise.size(), noise.stride())
        torch.lt(bits, kept - _RANGE // 2, out=noise)
        return x * noise.mul_(_RANGE / kept)
