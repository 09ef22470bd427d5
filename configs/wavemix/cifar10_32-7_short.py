# The model of cifar10_32-7.py in 40 epochs, two hours on a CPU core: AdamW with warm-up and cosine
# decay, not a constant rate and SGD at the end; small batches, mirrored images, bfloat16.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/cifar10_folder.py",
    "../_base_/schedules/adamw_cosine_bf16.py",
]
model = dict(
    backbone=dict(arch="lite-32/7", upsample="bilinear", dropout=0.0), head=dict(in_channels=32)
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(num_workers=1)
