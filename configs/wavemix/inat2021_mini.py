# iNaturalist 2021 mini at 256x256, Table 7: WaveMix-256/16, level 2.
_base_ = [
    "../_base_/models/wavemix_cls.py",
    "../_base_/datasets/inat2021_mini_256.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="256/16-l2"), head=dict(num_classes=10000, in_channels=256))
