# SVHN at 128x128 from ImageNet weights, Table 7: WaveMix-192/16, level 3.
_base_ = [
    "../_base_/models/wavemix_cls_in1k.py",
    "../_base_/datasets/svhn.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(head=dict(num_classes=10))
data_preprocessor = _base_.imagenet_mean_std  # as for the weights
train_pipeline = test_pipeline = [
    dict(type="Resize", scale=(128, 128), interpolation="bicubic"),
    dict(type="PackInputs"),
]
loader = dict(num_workers=8, dataset=dict(pipeline=train_pipeline))
train_dataloader = val_dataloader = test_dataloader = loader
