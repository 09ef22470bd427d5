# The model of mnist_8-10.py in 20 epochs on one CPU core: AdamW with warm-up and cosine in place of
# a constant rate and SGD at the end, small batches, no dropout, bfloat16.
_base_ = "./mnist_8-10.py"

model = dict(backbone=dict(dropout=0.0))
train_dataloader = dict(batch_size=64, num_workers=1)
val_dataloader = dict(num_workers=1)
test_dataloader = val_dataloader
optim_wrapper = dict(type="wavemix_mm.BFloat16OptimWrapper", optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, end=20, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=20, val_interval=1)
custom_hooks = []
