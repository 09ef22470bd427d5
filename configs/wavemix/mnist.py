# MNIST. The paper does not name its model for MNIST; this is its model for EMNIST Digits.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/mnist.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-112/16", in_channels=1), head=dict(in_channels=112))
