# For short runs on a CPU: AdamW, one epoch of warm-up, cosine decay until the last epoch, bfloat16.
# A leaf sets the learning rate and the number of epochs.
optim_wrapper = dict(
    type="wavemix_mm.BFloat16OptimWrapper",
    optimizer=dict(type="AdamW", lr=3e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    # its `end` is the last epoch by default
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=40, val_interval=2)
val_cfg = dict()
test_cfg = dict()
