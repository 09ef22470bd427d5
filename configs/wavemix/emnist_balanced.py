# EMNIST Balanced (47 classes), Table 7: WaveMix-Lite-128/7.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/emnist_28.py",
    "../_base_/schedules/adamw_sgd_300e.py",
    "../_base_/classification_runtime.py",
]
model = dict(
    backbone=dict(arch="lite-128/7", in_channels=1), head=dict(num_classes=47, in_channels=128)
)
data_preprocessor = dict(num_classes=47)
train_dataloader = dict(dataset=dict(args=dict(split="balanced")))
val_dataloader = dict(dataset=dict(args=dict(split="balanced")))
test_dataloader = val_dataloader
