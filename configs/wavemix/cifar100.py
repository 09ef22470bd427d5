# CIFAR-100 from scratch with TrivialAugment, Table 7: WaveMix-Lite-256/10.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-256/10"), head=dict(num_classes=100, in_channels=256))
train_pipeline = [*_base_.trivial_augment, dict(type="PackInputs")]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
