# Galaxy10 DECaLS, 256x256, 9 of 10 galaxies of each class for training, with TrivialAugment;
# normalized as ImageNet for its weights.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.Galaxy10DECaLS"
data_root = "data/galaxy10_decals/"
data_preprocessor = dict(
    num_classes=10, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
train_pipeline = [
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/TrivialAugmentWide"),
    dict(type="PILToNumpy", to_bgr=True),
    dict(type="PackInputs"),
]
test_pipeline = [
    # does nothing to the dataset's own images: other ones may come for inference
    dict(type="Resize", scale=(256, 256), interpolation="area"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split="train",
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split="val",
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
