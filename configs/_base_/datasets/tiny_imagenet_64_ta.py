# Tiny ImageNet at 64x64 with TrivialAugment.
_base_ = "./tiny_imagenet_64.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/TrivialAugmentWide"),
    dict(type="PILToNumpy", to_bgr=True),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
