"""The Haar transform where its sub-bands are used: each level keeps its pixels until then.

The concatenation in front of a level's MLP then needs no copy of the sub-bands. For the kernel, see
``haar_kernel.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavemix_mm.models.fast.deploy import HaarApproximation
from wavemix_mm.models.layers.token_mixers import DWTMixer
from wavemix_mm.models.layers.wavelet import HAAR, haar_dwt2d


class HaarConcat(nn.Module):
    """Replace `Concat`: transform the first map, and concatenate the second one."""

    def forward(self, x: Tensor, higher: Tensor | None = None) -> Tensor:
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
            for path in block.paths:
                path.concat = HaarConcat()
