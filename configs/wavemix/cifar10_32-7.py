# CIFAR-10, Table 5: WaveMix-Lite-32/7 with upsampling free of parameters, 37,058 parameters.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-32/7", upsample="bilinear"), head=dict(in_channels=32))
