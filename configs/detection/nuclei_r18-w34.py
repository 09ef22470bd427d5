# ResNet-18 of 34 channels in the place of WaveMix: as many multiply-adds (0.71 G at 256x256). From
# random weights; neck, head, data and schedule are those of nuclei_short.py.
_base_ = "./nuclei_r18.py"
width = 34
model = dict(
    backbone=dict(stem_channels=width, base_channels=width),
    neck=dict(in_channels=[width, 2 * width, 4 * width, 8 * width]),
)
