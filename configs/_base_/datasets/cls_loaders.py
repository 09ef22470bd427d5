# What the classification datasets share; each names its dataset and pipelines.
train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    # images of equal size are stacked once, and then normalized as one tensor
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="wavemix_mm.StatelessSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator
