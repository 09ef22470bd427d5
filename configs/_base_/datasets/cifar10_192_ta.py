# CIFAR-10 enlarged to 192x192, TrivialAugment, normalized as ImageNet for its weights.
_base_ = "./cifar10_32.py"

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
train_pipeline = [
    dict(type="Resize", scale=(192, 192), interpolation="bicubic"),
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/TrivialAugmentWide"),
    dict(type="PILToNumpy", to_bgr=True),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="Resize", scale=(192, 192), interpolation="bicubic"),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
