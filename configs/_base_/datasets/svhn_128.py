# SVHN enlarged to 128x128, normalized as ImageNet for its weights.
_base_ = "./svhn_32.py"

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
train_pipeline = [
    dict(type="Resize", scale=(128, 128), interpolation="bicubic"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="Resize", scale=(128, 128), interpolation="bicubic"),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=256, num_workers=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=256, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
