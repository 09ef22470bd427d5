"""Layers of the network: torch and mmengine only."""

from wavemix_mm.models.layers.token_mixers import (
    DFTMixer,
    DWTMixer,
    IdentityMixer,
    LiftingMixer,
    MaxPoolMixer,
    RandomFilterMixer,
)
from wavemix_mm.models.layers.wavelet import DWT2d, IDWT2d

__all__ = [
    "DFTMixer",
    "DWT2d",
    "DWTMixer",
    "IDWT2d",
    "IdentityMixer",
    "LiftingMixer",
    "MaxPoolMixer",
    "RandomFilterMixer",
]
