# Weights to begin camvid_best.py with: its backbone on CIFAR-10 as image files, 13 epochs, 24
# minutes on a CPU core. Crops of a quarter and more, enlarged, show objects of several sizes.
_base_ = "./cifar10_32-7_folder.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="wavemix_mm.WaveMix",
        embed_dims=64,
        depth=6,
        levels=3,
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
    head=dict(in_channels=64),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=32, crop_ratio_range=(0.25, 1.0)),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="ColorJitter", brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=128, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1)
test_dataloader = val_dataloader
optim_wrapper = dict(
    type="wavemix_mm.BFloat16OptimWrapper", optimizer=dict(lr=2e-3, weight_decay=0.05)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, end=13, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=13, val_interval=2)
custom_hooks = []
