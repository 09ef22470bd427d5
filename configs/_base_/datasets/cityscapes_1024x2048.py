# Cityscapes at 1024x2048: horizontal flip alone, single-scale test of the whole image.
# Predictions are resized to the size of the labels before they are compared.
_base_ = "./segmentation.py"

scale = (2048, 1024)  # width, height
resize = dict(type="Resize", scale=scale, keep_ratio=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    resize,
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    resize,
    # after Resize, so that the labels keep their size
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
tta_ratios = (0.75, 1.0, 1.25)
tta_resizes = [dict(resize, scale=tuple(int(r * side) for side in scale)) for r in tta_ratios]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[tta_resizes, *_base_.tta_steps]),
]
dataset = dict(type="wavemix_mm.CityscapesDataset", data_root="data/cityscapes/")
train_dataloader = dict(
    batch_size=5,
    num_workers=4,
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=4,
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
