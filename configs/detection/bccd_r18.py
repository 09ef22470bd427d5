# ResNet-18 in the place of WaveMix, from random weights; neck, head, data and schedule are those of
# bccd_short.py.
_base_ = "./bccd_short.py"
model = dict(
    backbone=dict(_delete_=True, type="ResNet", depth=18, norm_eval=False),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
