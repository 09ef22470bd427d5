# Fashion-MNIST. Table 5 has a tiny model only; this is the one of the paper for EMNIST ByClass.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/fashion_mnist.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(in_channels=1))
