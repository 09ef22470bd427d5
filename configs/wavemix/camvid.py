# A small WaveMix, 64/6 level 3, from scratch on CamVid (11 classes, 480x360), on a CPU too:
# bfloat16 autocast needs no accelerator. Augmentation, since 367 images are few.
_base_ = [
    "../_base_/models/wavemix_seg.py",
    "../_base_/datasets/camvid_360x480.py",
]
model = dict(
    # PyTorch's initial weights are smaller, and learn more slowly. Not in the backbone, where
    # model.backbone.init_cfg.type=Pretrained shall find no other.
    init_cfg=dict(
        type="Kaiming",
        layer="Conv2d",
        mode="fan_in",
        nonlinearity="relu",
        distribution="normal",
    ),
    data_preprocessor=dict(size=(320, 320), seg_pad_val=11),
    backbone=dict(
        embed_dims=64,
        depth=6,
        levels=3,
        dropout=0.0,
        stem=dict(_delete_=True, type="wavemix_mm.PatchStem", patch_size=4),
    ),
    decode_head=dict(
        in_channels=64,
        mid_channels=32,
        channels=16,
        num_classes=11,
        ignore_index=11,
        init_cfg=[
            dict(type="Xavier", distribution="normal", layer="ConvTranspose2d"),
            # mmseg's 0.01 is for features behind a norm, which this head has not
            dict(type="Normal", std=0.1, override=dict(name="conv_seg")),
        ],
        loss_decode=dict(
            gamma=0.0,  # plain cross-entropy learns faster in so few steps
            # 1 / sqrt(frequency in the training labels), scaled to a mean of 1 over its pixels
            class_weight=[0.88, 0.75, 3.63, 0.64, 1.7, 1.15, 3.32, 3.39, 1.49, 4.5, 6.66],
        ),
    ),
    test_cfg=dict(crop_size=(320, 320), stride=(256, 256)),
)
optim_wrapper = dict(
    type="wavemix_mm.BFloat16OptimWrapper",
    optimizer=dict(type="AdamW", lr=1.5e-3, weight_decay=0.05),
)
max_epochs = 110
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=True, end=3, convert_to_iter_based=True),
    dict(
        type="PolyLR",
        power=1.0,
        eta_min=1e-5,
        begin=3,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
# Small batches: with 367 images, the number of steps is what a run lacks.
train_dataloader = dict(batch_size=4)
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=10)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=30))
