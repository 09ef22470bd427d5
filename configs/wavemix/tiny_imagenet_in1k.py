# Tiny ImageNet at 128x128 from ImageNet weights, TrivialAugment, Table 7: WaveMix-192/16, level 3.
_base_ = [
    "../_base_/models/wavemix_cls_in1k.py",
    "../_base_/datasets/tiny_imagenet_128_ta.py",
    "../_base_/schedules/adamw_sgd_300e.py",
    "../_base_/classification_runtime.py",
]
model = dict(head=dict(num_classes=200))
