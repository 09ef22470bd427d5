# Classification with a few hundred images of your own, in data/mine as in
# own_data/classification.py. The backbone begins with the weights of camvid_64-6.py. The length is
# counted in iterations: epochs are short, so that 40 of them may be too few. docs/small-data.md has
# figures.
_base_ = "../_base_/own_data/classification.py"

data_preprocessor = dict(num_classes=2)  # as the head of the base
max_iters = 400
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, end=20),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=False, begin=20, end=max_iters),
]
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
train_dataloader = dict(sampler=dict(type="wavemix_mm.StatelessInfiniteSampler"))
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=max_iters, val_interval=100)
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100))
