# Common to the classification data sets: loaders, accuracy, ImageNet's mean and standard deviation.
imagenet_mean_std = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
data_preprocessor = dict(**imagenet_mean_std, to_rgb=True)
trivial_augment = [
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/TrivialAugmentWide"),
    dict(type="PILToNumpy", to_bgr=True),
]
train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    # images of equal size are stacked once, and then normalized as one tensor
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="wavemix_mm.StatelessSampler", shuffle=True),
)
val_dataloader = dict(train_dataloader, sampler=dict(type="DefaultSampler", shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator
