# Pre-training of camvid_64-6.py's backbone on CIFAR-10 as image files: 13 epochs, 24 minutes on a
# CPU core. Enlarged crops of at least a quarter of the image show objects of several sizes.
_base_ = [
    "../_base_/models/wavemix_cls.py",
    "../_base_/datasets/cifar10_folder.py",
    "../_base_/schedules/adamw_cosine_bf16.py",
]
model = dict(
    backbone=dict(
        arch="64/6-l3",
        dropout=0.0,
        stem=dict(type="wavemix_mm.PatchStem", patch_size=4),
        init_cfg=dict(
            type="Kaiming",
            layer="Conv2d",
            mode="fan_in",
            nonlinearity="relu",
            distribution="normal",
        ),
    ),
    head=dict(num_classes=10, in_channels=64),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=32, crop_ratio_range=(0.25, 1.0)),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="ColorJitter", brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=128, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(num_workers=1)
optim_wrapper = dict(optimizer=dict(lr=2e-3, weight_decay=0.05))
train_cfg = dict(max_epochs=13)
