# The reference of the ablations (section 4.6): WaveMix-Lite-16/4 with the Haar wavelet on a part of
# CIFAR-10. Each other config of this folder changes one thing. The subsets have as many images of
# each class: the files are in the order of the classes.
_base_ = [
    "../../_base_/models/wavemix_cls_small.py",
    "../../_base_/datasets/cifar10_folder.py",
    "../../_base_/schedules/adamw_cosine_bf16.py",
]
model = dict(backbone=dict(arch="lite-16/4", dropout=0.0), head=dict(in_channels=16))
part = dict(indices=range(0, 50000, 10))
train_dataloader = dict(batch_size=32, num_workers=1, dataset=part)
part = dict(indices=range(0, 10000, 5))
val_dataloader = test_dataloader = dict(batch_size=200, num_workers=1, dataset=part)
train_cfg = dict(max_epochs=10, val_interval=10)
