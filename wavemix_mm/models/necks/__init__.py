from wavemix_mm.models.necks.channel_mixing import ChannelMixing

__all__ = ["ChannelMixing"]
