from wavemix_mm.models.necks.channel_mixing import ChannelMixing
from wavemix_mm.models.necks.wavelet_pyramid import WaveletPyramid

__all__ = ["ChannelMixing", "WaveletPyramid"]
