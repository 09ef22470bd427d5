# ImageNet-1k resized to 224x224, without augmentation, as Tables 9 and 10 want it. Images are
# resized to a square, not cropped.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.ImageNet"
data_root = "data/imagenet/"
data_preprocessor = dict(
    num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(224, 224), backend="pillow", interpolation="bicubic"),
    dict(type="PackInputs"),
]
test_pipeline = train_pipeline
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
