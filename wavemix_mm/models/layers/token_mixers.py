"""Token mixers: the wavelet transform of a WaveMix block, and its replacements.

The contract: a token mixer maps (N, c, H, W) to a pair. The first is the input of the level's MLP,
(N, 4c, ceil(H/2), ceil(W/2)); the second is the input of the next level, (N, c, ceil(H/2),
ceil(W/2)). The block does not know which mixer it has.
"""

from __future__ import annotations

from torch import Tensor

from wavemix_mm.models.layers.wavelet import DWT2d
from wavemix_mm.registry import MODELS


@MODELS.register_module()
class DWTMixer(DWT2d):
    """The paper's token mixer: one level of the 2-D DWT (Eq. 2). It has no parameters.

    Args:
        wavelet: Name of a discrete wavelet of PyWavelets (Table 13 compares twelve).

    Raises:
        UserInputError: If PyWavelets has no such discrete wavelet.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(N, c, H, W) -> all sub-bands, approximations first, and the approximations alone."""
        bands = super().forward(x)
        return bands, bands[:, : x.shape[1]]
