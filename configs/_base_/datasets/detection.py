# Common to the detection data sets: files, loaders and metric.
pack_result = dict(
    type="PackDetInputs",
    meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
)
train_dataloader = dict(
    batch_size=4,
    drop_last=True,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="wavemix_mm.StatelessSampler", shuffle=True),
    dataset=dict(
        type="wavemix_mm.CheckedCocoDataset",
        ann_file="train/annotations.json",
        data_prefix=dict(img="train/images/"),
        filter_cfg=dict(filter_empty_gt=True),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="wavemix_mm.CheckedCocoDataset",
        ann_file="val/annotations.json",
        data_prefix=dict(img="val/images/"),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", metric="bbox", classwise=True)
test_evaluator = val_evaluator
