# CIFAR-10 from scratch with TrivialAugment, Table 7: WaveMix-Lite-320/8.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="lite-320/8"), head=dict(in_channels=320))
train_pipeline = [*_base_.trivial_augment, dict(type="PackInputs")]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
