# The paper's best model on Cityscapes, WaveMix-256/16, level 4, from ImageNet weights. Its stem of
# two strided convolutions takes its tensors from a classifier with the same stem, as the authors'
# imagenet4level_70.42.pth is; from one with a patch stem it takes none, and learns its own. The log
# says which tensors were taken. Another path:
#   --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = "./cityscapes.py"

model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained",
            checkpoint="checkpoints/wavemix-256-16-l4_in1k.pth",
            prefix="backbone.",
        )
    )
)
