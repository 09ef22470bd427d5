"""Layers of the network: torch and mmengine only."""

from wavemix_mm.models.layers.token_mixers import DWTMixer
from wavemix_mm.models.layers.wavelet import DWT2d, IDWT2d

__all__ = ["DWT2d", "DWTMixer", "IDWT2d"]
