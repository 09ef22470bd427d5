"""The Haar transform where its sub-bands are used: each level keeps its pixels until then.

The concatenation in front of a level's MLP then needs no copy of the sub-bands. For the kernel, see
``haar_kernel.py``.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.models.layers.token_mixers import DWTMixer
from wavemix_mm.models.layers.wavelet import HAAR, haar_dwt2d, pad_to_even


class HaarApproximation(nn.Module):
    """Replace the Haar transform; `HaarPath` computes the details."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> the same, zero-padded to even sides, and the LL band.

        The LL band, (N, C, ceil(H/2), ceil(W/2)), is twice the mean of each 2x2 cell.
        """
        x = pad_to_even(x)
        return x, 2 * F.avg_pool2d(x, kernel_size=2)


class HaarPath(nn.Sequential):
    """Replace a `LevelPath`: transform the level's pixels into their place beside `higher`."""

    def forward(self, x: Tensor, higher: Tensor | None = None) -> Tensor:
        """(N, C, H, W)[, (N, D, H/2, W/2)] -> the level's output; H, W even."""
        return super().forward(_transform_and_concatenate(x, higher))


def _transform_and_concatenate(x: Tensor, higher: Tensor | None) -> Tensor:
    """(N, C, H, W)[, (N, D, H/2, W/2)] -> (N, 4C + D, H/2, W/2); H, W even."""
    if x.is_cuda:
        from wavemix_mm.models.fast.haar_kernel import haar_concat  # needs Triton

        # autocast does not know the operator
        if higher is not None and higher.dtype != x.dtype:
            x, higher = (m.to(torch.promote_types(x.dtype, higher.dtype)) for m in (x, higher))
        return haar_concat(x, higher)
    bands = haar_dwt2d(x)
    return bands if higher is None else torch.cat((bands, higher), dim=1)


def use_haar_kernel(network: nn.Module) -> None:
    """Exchange, in place, the Haar transform of each block; results and parameters stay equal."""
    for block in network.modules():
        mixer = getattr(block, "token_mixer", None)
        if isinstance(mixer, DWTMixer) and mixer.wavelet in HAAR:
            block.token_mixer = HaarApproximation()
            for i, path in enumerate(block.paths):
                block.paths[i] = HaarPath(OrderedDict(path.named_children()))
