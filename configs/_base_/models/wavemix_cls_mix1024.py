# The ImageNet models of Tables 4, 9, 10 and 12: a 1x1 convolution to 1024 channels before pooling.
_base_ = "./wavemix_cls.py"

model = dict(
    neck=dict(_delete_=True, type="wavemix_mm.ChannelMixing", in_channels=192, out_channels=1024),
    head=dict(in_channels=1024),
)
