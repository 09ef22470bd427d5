# SVHN from scratch, Table 7: WaveMix-Lite-144/15.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/svhn.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-144/15"), head=dict(in_channels=144))
