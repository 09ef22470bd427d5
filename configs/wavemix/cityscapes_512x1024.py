# The best row of Table 6 at 512x1024: WaveMix-Lite-256/16. Its largest batch on 16 GB is 13.
_base_ = [
    "../_base_/models/wavemix_seg.py",
    "../_base_/datasets/cityscapes_512x1024.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(arch="lite-256/16"),
    test_cfg=dict(crop_size=(512, 512), stride=(384, 384)),
)
