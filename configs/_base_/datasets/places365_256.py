# Places365-Standard, the archive of images resized to 256x256, without augmentation.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.TorchvisionDataset"
data_root = "data/places365/"
data_preprocessor = dict(
    num_classes=365, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
train_pipeline = [
    dict(type="PackInputs"),
]
test_pipeline = [
    # does nothing to the dataset's own images: other ones may come for inference
    dict(type="Resize", scale=(256, 256), interpolation="area"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    num_workers=8,
    dataset=dict(
        type=dataset_type,
        name="Places365",
        data_root=data_root,
        args=dict(split="train-standard", small=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=8,
    dataset=dict(
        type=dataset_type,
        name="Places365",
        data_root=data_root,
        args=dict(split="val", small=True),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, 5))
test_evaluator = val_evaluator
