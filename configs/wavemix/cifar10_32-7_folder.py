# WaveMix-Lite-32/7 of cifar10_32-7.py on CIFAR-10 as image files in one folder for each class.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar10_folder.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-32/7", upsample="bilinear"), head=dict(in_channels=32))
