# CIFAR-100 from scratch with TrivialAugment, Table 7: WaveMix-Lite-256/10.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar100_32_ta.py",
    "../_base_/schedules/adamw_sgd_300e.py",
    "../_base_/classification_runtime.py",
]
model = dict(backbone=dict(arch="lite-256/10"), head=dict(num_classes=100, in_channels=256))
