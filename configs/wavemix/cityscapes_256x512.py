# The best row of Table 6 at 256x512: WaveMix-Lite-256/16, ff 512, mul 3. Its largest batch on
# 16 GB is 18.
_base_ = [
    "../_base_/models/wavemix_seg.py",
    "../_base_/datasets/cityscapes_256x512.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(
    data_preprocessor=dict(size=(256, 512)),
    backbone=dict(arch="lite-256/16", ff_channels=512, mlp_ratio=3),
    test_cfg=dict(crop_size=(256, 256), stride=(192, 192)),
)
