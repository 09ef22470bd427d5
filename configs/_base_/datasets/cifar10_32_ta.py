# CIFAR-10 at 32x32 with TrivialAugment.
_base_ = "./cifar10_32.py"

train_pipeline = [
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/TrivialAugmentWide"),
    dict(type="PILToNumpy", to_bgr=True),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
