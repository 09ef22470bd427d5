# Mask R-CNN on WaveMix-192/16, level 3, from the authors' ImageNet weights (README.md of
# configs/wavemix). Its batch norms keep their statistics; stem and two blocks keep their weights.
_base_ = [
    "../_base_/models/wavemix_mask-rcnn.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/schedules/coco_1x.py",
]
model = dict(
    backbone=dict(
        arch="192/16-l3",
        norm_eval=True,
        frozen_stages=2,
        with_cp=True,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="checkpoints/wavemix-192-16-l3_in1k.pth",
            prefix="backbone.",
        ),
    ),
    neck=dict(in_channels=[192]),
)
