# Common to the detection data sets: loaders and metric.
train_dataloader = dict(
    batch_size=4,
    drop_last=True,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="wavemix_mm.StatelessSampler", shuffle=True),
    dataset=dict(type="wavemix_mm.CheckedCocoDataset", filter_cfg=dict(filter_empty_gt=True)),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="wavemix_mm.CheckedCocoDataset", test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", metric="bbox", classwise=True)
test_evaluator = val_evaluator
