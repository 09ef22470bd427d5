# CamVid, 11 classes, 480x360: training on scaled crops, test on whole images at their size.
_base_ = "./segmentation.py"

crop_size = (320, 320)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(480, 360), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75, ignore_index=11),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(480, 360), keep_ratio=True),
    # after Resize, so that the labels keep their size
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
# training scales images by 0.75 to 1.5
tta_resizes = [dict(type="Resize", scale_factor=r, keep_ratio=True) for r in (1.0, 1.25, 1.5)]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[tta_resizes, *_base_.tta_steps]),
]
dataset = dict(type="wavemix_mm.CamVidDataset", data_root="data/camvid/")
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    drop_last=True,
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="img_dir/val", seg_map_path="ann_dir/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(ignore_index=11)
