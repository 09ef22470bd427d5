# Tiny ImageNet enlarged to 128x128, with TrivialAugment.
_base_ = "./tiny_imagenet_64.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(128, 128), interpolation="bicubic"),
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/TrivialAugmentWide"),
    dict(type="PILToNumpy", to_bgr=True),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(128, 128), interpolation="bicubic"),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
