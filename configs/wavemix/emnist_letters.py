# EMNIST Letters (26 classes), Table 7: WaveMix-Lite-112/16.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/emnist_28.py",
    "../_base_/schedules/adamw_sgd_300e.py",
    "../_base_/classification_runtime.py",
]
model = dict(
    backbone=dict(arch="lite-112/16", in_channels=1), head=dict(num_classes=26, in_channels=112)
)
data_preprocessor = dict(num_classes=26)
train_dataloader = dict(dataset=dict(args=dict(split="letters")))
val_dataloader = dict(dataset=dict(args=dict(split="letters")))
test_dataloader = val_dataloader
