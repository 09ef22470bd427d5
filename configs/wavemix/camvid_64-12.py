# camvid_64-6.py with twice the blocks: it begins with that model's weights, and blocks 7 to 12 are
# new. 160 more epochs, 2:40 hours on a CPU core.
_base_ = "./camvid_64-6.py"
model = dict(backbone=dict(depth=12, init_cfg=None))
load_from = "wavemix_mm://camvid_64-6"
optim_wrapper = dict(optimizer=dict(lr=1e-3))
max_epochs = 160
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_epochs)]
train_cfg = dict(max_epochs=max_epochs)
