# Cityscapes resized to 256x512; the rest as at full resolution.
_base_ = "./cityscapes_1024x2048.py"

scale = (512, 256)  # width, height
resize = dict(type="Resize", scale=scale, keep_ratio=True)
train_pipeline = [resize if step == _base_.resize else step for step in _base_.train_pipeline]
test_pipeline = [resize if step == _base_.resize else step for step in _base_.test_pipeline]
tta_resizes = [dict(resize, scale=tuple(int(r * s) for s in scale)) for r in _base_.tta_ratios]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[tta_resizes, *_base_.tta_steps]),
]
train_dataloader = dict(batch_size=18, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
