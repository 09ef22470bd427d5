# The model of fashion_mnist_8-5.py in 40 epochs on one CPU core: AdamW with warm-up and cosine
# decay, not a constant rate and SGD at the end; small batches, no dropout, bfloat16, and images
# mirrored at random.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/fashion_mnist.py",
    "../_base_/schedules/adamw_cosine_bf16.py",
]
model = dict(
    backbone=dict(arch="lite-8/5", in_channels=1, dropout=0.0),
    head=dict(in_channels=8),
)
train_pipeline = [
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(num_workers=1)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
train_cfg = dict(max_epochs=40, val_interval=1)
