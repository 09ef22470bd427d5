# ResNet-18 of 34 channels in the place of WaveMix: as many multiply-adds (0.84 G at 320x240). From
# random weights; neck, head, data and schedule are those of bccd_short.py.
_base_ = "./bccd_r18.py"
width = 34
model = dict(
    backbone=dict(stem_channels=width, base_channels=width),
    neck=dict(in_channels=[width, 2 * width, 4 * width, 8 * width]),
)
