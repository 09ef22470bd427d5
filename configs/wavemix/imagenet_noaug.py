# ImageNet-1k without augmentation, the last row of Table 9: WaveMix-240/12, level 3. Other rows
# (Tables 9, 10 and 12) set the arch and the neck's channels to match.
_base_ = [
    "../_base_/models/wavemix_cls_mix1024.py",
    "../_base_/datasets/imagenet_224.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="240/12-l3"), neck=dict(in_channels=240))
