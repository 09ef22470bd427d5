# camvid_64-12_noise.py with three more blocks, and with thin classes of a second crop pasted over
# half of the crops. It begins with that model's weights, so train that first. 100 more epochs, 1:50
# hours on a busy CPU core.
_base_ = "./camvid_64-12_noise.py"
model = dict(backbone=dict(depth=15))
load_from = "work_dirs/camvid_64-12_noise/epoch_120.pth"
max_epochs = 100
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_epochs)]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="MultiImageMixDataset",
        dataset=dict(_base_.train_dataloader.dataset, pipeline=_base_.train_pipeline[:5]),
        pipeline=[
            # pole, sign, pedestrian, bicyclist
            dict(type="wavemix_mm.ClassMix", classes=[2, 6, 9, 10]),
            *_base_.train_pipeline[5:],
        ],
    )
)
train_cfg = dict(max_epochs=max_epochs)
