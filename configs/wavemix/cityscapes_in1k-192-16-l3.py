# The architecture of the authors' released Cityscapes weights: their ImageNet classifier
# WaveMix-192/16, level 3, patch stem, with the segmentation head 192 -> 128 -> 64 -> classes.
# To start from ImageNet weights:
#   --cfg-options model.backbone.init_cfg.type=Pretrained \
#       model.backbone.init_cfg.checkpoint=PATH model.backbone.init_cfg.prefix=backbone.
_base_ = "./cityscapes.py"

model = dict(
    backbone=dict(
        arch="192/16-l3", stem=dict(_delete_=True, type="wavemix_mm.PatchStem", patch_size=4)
    ),
    decode_head=dict(in_channels=192),
)
