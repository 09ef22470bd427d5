# camvid_64-12.py with noise on half of the training images: it begins with that model's weights, so
# train that first. 120 more epochs, two hours on a busy CPU core.
_base_ = "./camvid_64-12.py"
load_from = "work_dirs/camvid_64-12/epoch_160.pth"
max_epochs = 120
param_scheduler = [
    dict(_base_.param_scheduler[0], end=1),
    dict(_base_.param_scheduler[1], begin=1, end=max_epochs),
]
train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type="wavemix_mm.GaussianNoise", prob=0.5, max_sigma=20),
    _base_.train_pipeline[-1],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=max_epochs)
