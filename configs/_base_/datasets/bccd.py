# BCCD: blood cells, 292 + 72 images of 640x480, scaled to 360x270. Training takes crops of 320x240.
_base_ = "./detection.py"
size = (360, 270)  # width, height
crop_size = (320, 240)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=size, ratio_range=(0.8, 1.25), keep_ratio=True),
    # Not PhotoMetricDistortion: it exchanges channels, and the stain tells the cells apart. Before
    # the crop, whose array is not contiguous.
    dict(type="YOLOXHSVRandomAug", hue_delta=3, saturation_delta=20, value_delta=20),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=[0.25] * 3, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="Pad", size=crop_size),  # padding to other sizes would disturb batch norm
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=size, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    _base_.pack_result,
]
dataset = dict(
    data_root="data/bccd/",
    metainfo=dict(
        classes=("RBC", "WBC", "Platelets"), palette=[(220, 20, 60), (60, 60, 220), (0, 150, 60)]
    ),
)
train_dataloader = dict(dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="data/bccd/val/annotations.json")
test_evaluator = val_evaluator
