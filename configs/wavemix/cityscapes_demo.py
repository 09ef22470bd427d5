# WaveMix-Lite-48/4 on synthetic street scenes of 256x512, sized for two minutes on two CPU cores.
# tools/dataset_converters/synthetic_cityscapes.py writes the data.
_base_ = [
    "../_base_/models/wavemix_seg.py",
    "../_base_/datasets/cityscapes_256x512.py",
]
data_root = "data/synthetic_cityscapes/"
# About 1 / sqrt(frequency in the training labels), scaled to a mean of 1 over the pixels. Without
# these weights, so short a training does not learn small objects.
class_weight = [
    0.5, 1.2, 0.7, 1.9, 2.0, 2.3, 4.2, 4.2, 1.2, 3.0, 0.7, 4.3, 5.3, 1.5, 1.8, 1.8, 1.8, 3.6, 4.2,
]  # fmt: skip
model = dict(
    data_preprocessor=dict(size=(256, 512)),
    backbone=dict(embed_dims=48, depth=4, levels=1, dropout=0.0),
    decode_head=dict(
        in_channels=48,
        mid_channels=32,
        channels=16,
        loss_decode=dict(class_weight=class_weight),
    ),
    test_cfg=dict(crop_size=(256, 256), stride=(192, 192)),
)
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(data_root=data_root))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
optim_wrapper = dict(
    type="wavemix_mm.BFloat16OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-2, weight_decay=0.01),
)
# The warm-up counts iterations and the decay ends with the last epoch: any number of epochs fits.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, end=100),
    dict(type="PolyLR", power=1.0, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=3)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1), logger=dict(interval=20))
randomness = dict(seed=0)
