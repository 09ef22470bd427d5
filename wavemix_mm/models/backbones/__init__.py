from wavemix_mm.models.backbones.wavemix import WaveMix

__all__ = ["WaveMix"]
