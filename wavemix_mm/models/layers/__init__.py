"""Building blocks of the network: torch and mmengine only."""

from wavemix_mm.models.layers.dwt import DWT2d, IDWT2d
from wavemix_mm.models.layers.stems import PatchStem, StridedStem
from wavemix_mm.models.layers.token_mixers import DWTMixer
from wavemix_mm.models.layers.wavemix_block import WaveMixBlock

__all__ = ["DWT2d", "DWTMixer", "IDWT2d", "PatchStem", "StridedStem", "WaveMixBlock"]
