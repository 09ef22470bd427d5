# WaveMix-Lite-48/4 on synthetic street scenes of 256x512, sized for two minutes on two CPU cores.
# tools/dataset_converters/synthetic_cityscapes.py writes the data.
_base_ = [
    "../_base_/models/wavemix_seg.py",
    "../_base_/datasets/cityscapes_256x512.py",
    "../_base_/segmentation_runtime.py",
]
data_root = "data/synthetic_cityscapes/"
model = dict(
    data_preprocessor=dict(size=(256, 512)),
    backbone=dict(embed_dims=48, depth=4, levels=1, dropout=0.0),
    decode_head=dict(in_channels=48, mid_channels=32, channels=16),
)
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(data_root=data_root))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
optim_wrapper = dict(
    type="wavemix_mm.BFloat16OptimWrapper",
    optimizer=dict(type="AdamW", lr=4e-3, weight_decay=0.01),
)
max_epochs = 8
# The warm-up counts iterations, so that any number of epochs goes with it.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, end=20),
    dict(
        type="PolyLR",
        power=1.0,
        eta_min=1e-5,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=4)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1), logger=dict(interval=10))
