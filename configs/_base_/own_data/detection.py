# A detection data set of your own: the model of bccd.py, and the backbone begins with the weights
# of camvid_64-6.py. A child sets the folder, the annotation files and the classes; `wavemix-mm new`
# writes it. Images of any sizes are scaled to fit into 512x512; predicted boxes are in pixels of
# the image.
_base_ = "../../detection/bccd.py"

size = (512, 512)
model = dict(
    backbone=dict(
        init_cfg=dict(type="Pretrained", checkpoint="wavemix_mm://camvid_64-6", prefix="backbone."),
    ),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=size, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=size),  # batch norm would see another padding in each batch
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=size, keep_ratio=True),
    # after Resize, so that the boxes keep their size
    dict(type="LoadAnnotations", with_bbox=True),
    _base_.pack_result,
]
dataset = dict(data_root="data/mine/", metainfo=dict(_delete_=True, classes=("object",)))
train_dataloader = dict(dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=24, val_interval=4)
