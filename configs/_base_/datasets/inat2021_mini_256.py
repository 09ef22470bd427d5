# iNaturalist 2021 mini, 10,000 species, resized to 256x256, without augmentation.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.TorchvisionDataset"
data_root = "data/inat2021/"
data_preprocessor = dict(
    num_classes=10000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
train_pipeline = [
    dict(type="Resize", scale=(256, 256), backend="pillow", interpolation="bicubic"),
    dict(type="PackInputs"),
]
test_pipeline = train_pipeline
train_dataloader = dict(
    num_workers=8,
    dataset=dict(
        type=dataset_type,
        name="INaturalist",
        data_root=data_root,
        args=dict(version="2021_train_mini"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=8,
    dataset=dict(
        type=dataset_type,
        name="INaturalist",
        data_root=data_root,
        args=dict(version="2021_valid"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, 5))
test_evaluator = val_evaluator
