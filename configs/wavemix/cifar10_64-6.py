# CIFAR-10, Table 5: WaveMix-Lite-64/6, 520,106 parameters.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-64/6"), head=dict(in_channels=64))
