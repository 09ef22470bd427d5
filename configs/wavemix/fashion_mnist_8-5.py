# Fashion-MNIST, Table 5: WaveMix-Lite-8/5, 7,156 parameters.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/fashion_mnist.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-8/5", in_channels=1), head=dict(in_channels=8))
