# EMNIST ByClass (62 classes), Table 7: WaveMix-Lite-128/7.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/emnist.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(
    backbone=dict(arch="lite-128/7", in_channels=1), head=dict(num_classes=62, in_channels=128)
)
