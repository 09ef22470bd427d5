"""What may stand in the place of the wavelet transform inside a WaveMix block.

The contract: a token mixer maps (N, c, H, W) to (N, 4c, ceil(H/2), ceil(W/2)), and its first c
output channels are the input of the next level. The block does not know which mixer it has.
"""

from __future__ import annotations

from wavemix_mm.models.layers.dwt import DWT2d
from wavemix_mm.registry import MODELS


@MODELS.register_module()
class DWTMixer(DWT2d):
    """The paper's token mixer: one level of the 2-D DWT (Eq. 2). It has no parameters.

    Args:
        wavelet: Name of a discrete wavelet of PyWavelets (Table 13 compares twelve).

    Raises:
        UserInputError: If PyWavelets has no such discrete wavelet.
    """
