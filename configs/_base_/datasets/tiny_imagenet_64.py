# Tiny ImageNet at 64x64 without augmentation; the test is its validation set, since its test
# labels are not public.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.TinyImageNet"
data_root = "data/tiny-imagenet-200/"
data_preprocessor = dict(
    num_classes=200, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    # does nothing to the dataset's own images: other ones may come for inference
    dict(type="Resize", scale=(64, 64), interpolation="area"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    num_workers=8,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split="train",
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=8,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split="val",
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, 5))
test_evaluator = val_evaluator
