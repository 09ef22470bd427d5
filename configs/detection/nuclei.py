# Mask R-CNN on WaveMix-64/6, level 3, on nuclei, on a CPU too. The backbone's initial weights are
# those of bccd.py.
_base_ = [
    "../_base_/models/wavemix_mask-rcnn.py",
    "../_base_/datasets/nuclei.py",
    "../_base_/schedules/adamw_cosine_bf16.py",
]
channels = 64
max_per_img = 400  # an image holds up to 369 nuclei
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
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        # half of the nuclei are smaller than 17 pixels: anchors of 16 pixels at stride 4
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, finest_scale=28),
        bbox_head=dict(num_classes=1, in_channels=channels, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=channels, finest_scale=28),
        mask_head=dict(
            num_classes=1, num_convs=2, in_channels=channels, conv_out_channels=channels
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=300),
        rcnn=dict(sampler=dict(num=96, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=1000), rcnn=dict(max_per_img=max_per_img)),
)
default_hooks = dict(checkpoint=dict(save_best="coco/nucleus_precision"))
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=10.0))
train_cfg = dict(max_epochs=8, val_interval=2)
