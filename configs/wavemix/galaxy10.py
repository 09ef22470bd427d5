# Galaxy10 DECaLS at 256x256 from ImageNet weights with TrivialAugment, Table 7: WaveMix-192/16,
# level 3.
_base_ = [
    "../_base_/models/wavemix_cls_in1k.py",
    "../_base_/datasets/galaxy10_decals_256_ta.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(head=dict(num_classes=10))
