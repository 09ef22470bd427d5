# Segmentation with a few dozen images of your own, in data/mine as in own_data/segmentation.py. The
# backbone begins with the weights of camvid_64-6.py. The length is counted in iterations: epochs
# are short, so that 110 of them may be too few. docs/small-data.md has figures.
_base_ = "../_base_/own_data/segmentation.py"

classes = ["background", "object"]
model = dict(decode_head=dict(num_classes=len(classes)))
max_iters = 2000
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, end=20),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=False, begin=20, end=max_iters),
]
dataset = dict(metainfo=dict(classes=classes))
train_dataloader = dict(sampler=dict(type="wavemix_mm.StatelessInfiniteSampler"), dataset=dataset)
val_dataloader = test_dataloader = dict(dataset=dataset)
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=max_iters, val_interval=200)
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=200))
