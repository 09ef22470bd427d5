from wavemix_mm.models.backbones.wavemix import PatchStem, StridedStem, WaveMix, WaveMixBlock

__all__ = ["PatchStem", "StridedStem", "WaveMix", "WaveMixBlock"]
