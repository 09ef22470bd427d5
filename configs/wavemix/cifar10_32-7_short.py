# The model of cifar10_32-7.py in 40 epochs, two hours on a CPU core: AdamW with warm-up and cosine
# in place of a constant rate and SGD at the end, small batches, mirrored images, bfloat16.
_base_ = "./cifar10_32-7_folder.py"

model = dict(backbone=dict(dropout=0.0))
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1)
test_dataloader = val_dataloader
optim_wrapper = dict(type="wavemix_mm.BFloat16OptimWrapper", optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, end=40, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=40, val_interval=2)
custom_hooks = []
