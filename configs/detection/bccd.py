# ATSS on WaveMix-64/6, level 3, on BCCD: red and white blood cells and platelets, on a CPU too.
# The backbone begins with the weights of ../wavemix/cifar10_64-6-l3_pretrain.py. Others, or none:
#   --cfg-options model.backbone.init_cfg.checkpoint=PATH
#   --cfg-options model.backbone.init_cfg=None
_base_ = [
    "../_base_/models/wavemix_atss.py",
    "../_base_/datasets/bccd.py",
    "../_base_/schedules/adamw_cosine_bf16.py",
]
channels = 64
model = dict(
    backbone=dict(
        arch="64/6-l3",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="wavemix_mm://cifar10_64-6-l3_pretrain",
            prefix="backbone.",
        ),
    ),
    neck=dict(in_channels=[64], out_channels=channels),
    bbox_head=dict(
        num_classes=3,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        # 8 channels a group, as in the stock head: fewer are slow in channels_last format
        norm_cfg=dict(type="GN", num_groups=8, requires_grad=True),
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10.0),
)
train_cfg = dict(max_epochs=24, val_interval=4)
