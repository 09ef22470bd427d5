# ImageNet-1k, row 3 of Table 4: WaveMix-192/16, level 3, the timm script's recipe, 300 epochs.
_base_ = [
    "../_base_/models/wavemix_cls_mix1024.py",
    "../_base_/datasets/imagenet_224_timm.py",
    "../_base_/schedules/timm_300e.py",
]
model = dict(
    head=dict(loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)
