# Tiny ImageNet without augmentation: the best row of Table 11, WaveMix-Lite-160/13.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/tiny_imagenet_64.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-160/13"), head=dict(num_classes=200, in_channels=160))
