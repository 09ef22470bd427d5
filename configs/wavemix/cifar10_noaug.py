# CIFAR-10 without augmentation: the best row of Table 11, WaveMix-Lite-144/7. The other rows of
# Tables 11, 13 and 14 set the arch and the head's channels, the wavelet, or the levels.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-144/7"), head=dict(in_channels=144))
