# Nuclei of the Data Science Bowl 2018: 519 + 145 microscope images of 256 to 512 pixels, one class.
_base_ = "./detection.py"
crop_size = (256, 256)
# The annotations hold masks as RLE. With poly2mask=False mmdet would ignore every object.
load_annotations = dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    load_annotations,
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=[0.25] * 3, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="Pad", size=crop_size),  # a few images have only 243 rows
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    # The size stays, but mask prediction needs the scale factor.
    dict(type="Resize", scale_factor=1.0),
    load_annotations,
    _base_.pack_result,
]
dataset = dict(
    data_root="data/nuclei/", metainfo=dict(classes=("nucleus",), palette=[(220, 20, 60)])
)
train_dataloader = dict(dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
# bbox_mAP and segm_mAP count 100 detections an image, whatever proposal_nums says. The other
# figures count the last of proposal_nums, also the class's AP: nucleus_precision of the masks,
# which replaces that of the boxes.
val_evaluator = dict(
    ann_file="data/nuclei/val/annotations.json",
    metric=["bbox", "segm"],
    proposal_nums=(100, 300, 500),
)
test_evaluator = val_evaluator
