# Common to the segmentation data sets: loaders, metric, test-time augmentation.
train_dataloader = dict(
    persistent_workers=True, sampler=dict(type="wavemix_mm.StatelessSampler", shuffle=True)
)
val_dataloader = dict(
    batch_size=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
tta_model = dict(type="SegTTAModel")
tta_steps = [  # after the resizing, which a child sets
    [dict(type="RandomFlip", prob=p, direction="horizontal") for p in (0.0, 1.0)],
    [dict(type="LoadAnnotations")],
    [dict(type="PackSegInputs")],
]
