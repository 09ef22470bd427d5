# The model of mnist_8-10.py in 20 epochs on one CPU core: AdamW with warm-up and cosine decay, not
# a constant rate and SGD at the end; small batches, no dropout, bfloat16.
_base_ = [
    "../_base_/models/wavemix_cls_small.py",
    "../_base_/datasets/mnist.py",
    "../_base_/schedules/adamw_cosine_bf16.py",
]
model = dict(
    backbone=dict(arch="lite-8/10", in_channels=1, upsample="bilinear", dropout=0.0),
    head=dict(in_channels=8),
)
train_dataloader = dict(batch_size=64, num_workers=1)
val_dataloader = test_dataloader = dict(num_workers=1)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
train_cfg = dict(max_epochs=20, val_interval=1)
