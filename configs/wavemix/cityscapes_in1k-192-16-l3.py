# The architecture of the authors' released Cityscapes weights: their ImageNet classifier
# WaveMix-192/16, level 3, patch stem, with the segmentation head 192 -> 128 -> 64 -> classes. It
# starts from ImageNet weights: the authors' after conversion, or a checkpoint of imagenet.py.
# Another path:
#   --cfg-options model.backbone.init_cfg.checkpoint=PATH
# From scratch:
#   --cfg-options model.backbone.init_cfg=None
_base_ = "./cityscapes.py"

model = dict(
    backbone=dict(
        arch="192/16-l3",
        stem=dict(_delete_=True, type="wavemix_mm.PatchStem", patch_size=4),
        init_cfg=dict(
            type="Pretrained",
            checkpoint="checkpoints/wavemix-192-16-l3_in1k.pth",
            prefix="backbone.",
        ),
    ),
    decode_head=dict(in_channels=192),
)
