# BCCD: blood cells, 292 + 72 images of 640x480, at half their size. Crops lost AP.
_base_ = "./detection.py"
resize = dict(type="Resize", scale=(320, 240), keep_ratio=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    resize,
    dict(type="RandomFlip", prob=[0.25] * 3, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    resize,
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
dataset = dict(
    data_root="data/bccd/",
    metainfo=dict(
        classes=("RBC", "WBC", "Platelets"), palette=[(220, 20, 60), (60, 60, 220), (0, 150, 60)]
    ),
)
train_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file="train/annotations.json",
        data_prefix=dict(img="train/images/"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file="val/annotations.json",
        data_prefix=dict(img="val/images/"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="data/bccd/val/annotations.json")
test_evaluator = val_evaluator
