# A classification data set of your own, one folder for each class. The backbone is the one of
# camvid_64-6.py and begins with its weights. A child sets the folder and the number of classes;
# `wavemix-mm new` writes it. Images of any sizes become 128x128.
_base_ = ["../models/wavemix_cls.py", "../datasets/classification.py",
          "../schedules/adamw_cosine_bf16.py"]  # fmt: skip

model = dict(
    backbone=dict(
        arch="64/6-l3",
        dropout=0.0,
        init_cfg=dict(type="Pretrained", checkpoint="wavemix_mm://camvid_64-6", prefix="backbone."),
    ),
    head=dict(in_channels=64, num_classes=2),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=128, crop_ratio_range=(0.4, 1.0)),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="ColorJitter", brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=144, edge="short"),
    dict(type="CenterCrop", crop_size=128),
    dict(type="PackInputs"),
]
dataset = dict(type="wavemix_mm.CustomDataset", data_root="data/mine")
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(**dataset, data_prefix="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(**dataset, data_prefix="val", pipeline=test_pipeline),
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05))
