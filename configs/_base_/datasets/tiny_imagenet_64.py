# Tiny ImageNet at 64x64 without augmentation. Its test labels are not public, so the validation set
# is the test set.
_base_ = "./classification.py"

data_preprocessor = dict(num_classes=200)
train_pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    # Changes nothing in the data set's own images; images for inference may have any size.
    dict(type="Resize", scale=(64, 64), interpolation="area"),
    dict(type="PackInputs"),
]
dataset = dict(type="wavemix_mm.TinyImageNet", data_root="data/tiny-imagenet-200/")
train_dataloader = dict(
    num_workers=8, dataset=dict(**dataset, split="train", pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=8, dataset=dict(**dataset, split="val", pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(topk=(1, 5))
