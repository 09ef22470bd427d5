# Places365-Standard at 256x256, Table 7: WaveMix-240/12, level 4.
_base_ = [
    "../_base_/models/wavemix_cls.py",
    "../_base_/datasets/places365_256.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(backbone=dict(arch="240/12-l4"), head=dict(num_classes=365, in_channels=240))
