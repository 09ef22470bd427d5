# Tiny ImageNet at 64x64 from scratch with TrivialAugment, Table 7: WaveMix-244/12, level 2.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/tiny_imagenet_64.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="244/12-l2"), head=dict(num_classes=200, in_channels=244))
train_pipeline = [dict(type="LoadImageFromFile"), *_base_.trivial_augment, dict(type="PackInputs")]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
