# CIFAR-100 without augmentation: the best row of Table 11, WaveMix-Lite-256/7.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-256/7"), head=dict(num_classes=100, in_channels=256))
