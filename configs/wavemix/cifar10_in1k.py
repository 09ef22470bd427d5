# CIFAR-10 at 192x192 from ImageNet weights, TrivialAugment, Table 7: WaveMix-192/16, level 3.
_base_ = [
    "../_base_/models/wavemix_cls_in1k.py",
    "../_base_/datasets/cifar10_192_ta.py",
    "../_base_/schedules/adamw_sgd_300e.py",
    "../_base_/classification_runtime.py",
]
model = dict(head=dict(num_classes=10))
