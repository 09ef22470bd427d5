# WaveMix-192/16, level 3, whose backbone starts from ImageNet weights: a checkpoint of
# configs/wavemix/imagenet.py, or the authors' weights after conversion. Another path:
#   --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = "./wavemix_cls.py"

model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained",
            checkpoint="checkpoints/wavemix-192-16-l3_in1k.pth",
            prefix="backbone.",
        )
    ),
)
