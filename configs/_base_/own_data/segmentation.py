# A segmentation data set of your own: the model of camvid.py, and the backbone begins with the
# weights of camvid_64-6.py. A child sets the folders, the classes and their number; `wavemix-mm
# new` writes it. Images of any sizes are scaled to fit into 512x512; predictions have the size of
# the image.
_base_ = "../../wavemix/camvid.py"

crop_size = (256, 256)
model = dict(
    data_preprocessor=dict(size=crop_size, seg_pad_val=255),
    backbone=dict(
        init_cfg=dict(type="Pretrained", checkpoint="wavemix_mm://camvid_64-6", prefix="backbone."),
    ),
    decode_head=dict(ignore_index=255, loss_decode=dict(class_weight=None)),
)
resize = dict(type="Resize", scale=(512, 512), keep_ratio=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(512, 512), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.9),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    resize,
    # after Resize, so that the labels keep their size
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
tta_resizes = [dict(type="Resize", scale=(side, side), keep_ratio=True) for side in (512, 640, 768)]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[tta_resizes, *_base_.tta_steps]),
]
dataset = dict(_delete_=True, type="wavemix_mm.CheckedSegDataset", data_root="data/mine")
train_dataloader = dict(
    drop_last=False,
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="images/val", seg_map_path="labels/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(ignore_index=255)
