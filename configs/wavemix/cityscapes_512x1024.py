# The best row of Table 6 at 512x1024: WaveMix-Lite-256/16. Its largest batch on 16 GB is 13.
_base_ = [
    "../_base_/models/wavemix_seg.py",
    "../_base_/datasets/cityscapes_1024x2048.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(arch="lite-256/16"),
    test_cfg=dict(crop_size=(512, 512), stride=(384, 384)),
)
resize = dict(type="Resize", scale=(1024, 512), keep_ratio=True)
train_pipeline = [resize if step == _base_.resize else step for step in _base_.train_pipeline]
test_pipeline = [resize if step == _base_.resize else step for step in _base_.test_pipeline]
tta_resizes = [dict(resize, scale=(int(1024 * r), int(512 * r))) for r in _base_.tta_ratios]
tta_transforms = [tta_resizes, *_base_.tta_steps]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=tta_transforms),
]
train_dataloader = dict(batch_size=13, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
