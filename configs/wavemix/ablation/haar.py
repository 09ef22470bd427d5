# The reference of the ablations (section 4.6): WaveMix-Lite-16/4 with the Haar wavelet, trained on
# every fifth image of CIFAR-10. Each other config of this folder changes one thing.
_base_ = [
    "../../_base_/models/wavemix_cls_small.py",
    "../../_base_/datasets/cifar10_folder.py",
    "../../_base_/schedules/adamw_cosine_bf16.py",
]
model = dict(backbone=dict(arch="lite-16/4", dropout=0.0), head=dict(in_channels=16))
# 1,000 images of each class: the files are in the order of the classes
subset = dict(indices=range(0, 50000, 5))
train_dataloader = dict(batch_size=64, num_workers=1, dataset=subset)
val_dataloader = test_dataloader = dict(num_workers=1)
train_cfg = dict(max_epochs=10, val_interval=1)
