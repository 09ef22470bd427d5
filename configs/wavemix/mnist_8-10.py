# MNIST, Table 5: WaveMix-Lite-8/10 with upsampling free of parameters, 3,566 parameters in all.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/mnist.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(
    backbone=dict(arch="lite-8/10", in_channels=1, upsample="bilinear"), head=dict(in_channels=8)
)
