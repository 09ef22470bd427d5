# Tiny ImageNet at 128x128 from ImageNet weights, TrivialAugment, Table 7: WaveMix-192/16, level 3.
_base_ = [
    "../_base_/models/wavemix_cls_in1k.py",
    "../_base_/datasets/tiny_imagenet_64.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(head=dict(num_classes=200))
load = dict(type="LoadImageFromFile")
resize = dict(type="Resize", scale=(128, 128), interpolation="bicubic")
train_pipeline = [load, resize, *_base_.trivial_augment, dict(type="PackInputs")]
test_pipeline = [load, resize, dict(type="PackInputs")]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
