# CIFAR-100 at 224x224 from ImageNet weights, TrivialAugment, Table 7: WaveMix-192/16, level 3.
_base_ = [
    "../_base_/models/wavemix_cls_in1k.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(head=dict(num_classes=100))
data_preprocessor = _base_.imagenet_mean_std  # as for the weights
resize = dict(type="Resize", scale=(224, 224), interpolation="bicubic")
train_pipeline = [resize, *_base_.trivial_augment, dict(type="PackInputs")]
test_pipeline = [resize, dict(type="PackInputs")]
loader = dict(batch_size=128, num_workers=8)
train_dataloader = dict(**loader, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(**loader, dataset=dict(pipeline=test_pipeline))
